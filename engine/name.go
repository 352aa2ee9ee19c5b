package engine

import "math/rand/v2"

// randomName returns a name for a container that was given none: two words,
// easy to say and to type.
func randomName() string {
	return adjectives[rand.IntN(len(adjectives))] + "_" + nouns[rand.IntN(len(nouns))] + digits(rand.IntN(100))
}

func digits(n int) string {
	const d = "0123456789"
	if n < 10 {
		return d[n : n+1]
	}
	return d[n/10:n/10+1] + d[n%10:n%10+1]
}

var adjectives = []string{
	"able", "amber", "ample", "azure", "bold", "brave", "breezy", "bright", "brisk", "calm",
	"clear", "clever", "cosy", "crisp", "daring", "deep", "eager", "early", "fair", "fleet",
	"fond", "free", "fresh", "gentle", "glad", "golden", "grand", "hardy", "hazy", "jolly",
	"keen", "kind", "lively", "lucky", "lunar", "merry", "mild", "misty", "nimble", "noble",
	"open", "placid", "polar", "proud", "quick", "quiet", "rapid", "ready", "rosy", "royal",
	"salty", "serene", "sharp", "silent", "silver", "sleek", "smart", "solid", "spry", "steady",
	"still", "sturdy", "sunny", "sure", "swift", "tidal", "tidy", "trim", "trusty", "vivid",
	"warm", "wide", "windy", "wise", "witty", "young",
}

var nouns = []string{
	"anchor", "barge", "bay", "beacon", "boat", "bollard", "boom", "bow", "bridge", "brig",
	"buoy", "cabin", "canal", "canoe", "cape", "captain", "channel", "clipper", "coast", "compass",
	"coral", "cove", "crane", "crew", "current", "cutter", "deck", "delta", "dhow", "dock",
	"dolphin", "dory", "ferry", "fjord", "fleet", "foghorn", "galley", "gull", "harbour", "hawser",
	"heron", "hull", "island", "jetty", "junk", "kayak", "keel", "ketch", "lagoon", "lantern",
	"lighter", "lock", "mast", "mate", "mooring", "oar", "osprey", "pelican", "pier", "pilot",
	"port", "quay", "raft", "reef", "rudder", "sail", "schooner", "shore", "skiff", "sloop",
	"sound", "spar", "strait", "tern", "tide", "tiller", "trawler", "tug", "wharf", "yacht",
}
