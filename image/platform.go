package image

import (
	"fmt"
	"runtime"
	"strings"

	ispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// ParsePlatform reads os/arch[/variant]; "arch" alone means linux/arch, and ""
// the platform of this machine.
func ParsePlatform(s string) (ispec.Platform, error) {
	if s == "" {
		return ispec.Platform{OS: "linux", Architecture: runtime.GOARCH}, nil
	}
	parts := strings.Split(strings.ToLower(s), "/")
	if len(parts) == 1 {
		parts = []string{"linux", parts[0]}
	}
	if len(parts) > 3 || parts[0] == "" || parts[1] == "" {
		return ispec.Platform{}, fmt.Errorf("platform %q: want os/arch or os/arch/variant", s)
	}
	p := ispec.Platform{OS: parts[0], Architecture: parts[1]}
	if len(parts) == 3 {
		p.Variant = parts[2]
	}
	return normalPlatform(p), nil
}

// normalPlatform gives the names Go uses to what people and kernels call
// differently, and drops the variants that mean the base architecture.
func normalPlatform(p ispec.Platform) ispec.Platform {
	switch p.Architecture {
	case "x86_64", "x86-64":
		p.Architecture = "amd64"
	case "aarch64":
		p.Architecture = "arm64"
	case "i386", "i686", "x86":
		p.Architecture = "386"
	case "armhf":
		p.Architecture, p.Variant = "arm", "v7"
	case "armel":
		p.Architecture, p.Variant = "arm", "v6"
	}
	switch {
	case p.Architecture == "arm64" && (p.Variant == "8" || p.Variant == "v8"),
		p.Architecture == "amd64" && p.Variant == "v1":
		p.Variant = ""
	case p.Architecture == "arm" && p.Variant == "":
		p.Variant = "v7"
	case p.Architecture == "arm" && !strings.HasPrefix(p.Variant, "v"):
		p.Variant = "v" + p.Variant
	}
	return p
}

func platformString(p ispec.Platform) string {
	s := p.OS + "/" + p.Architecture
	if p.Variant != "" {
		s += "/" + p.Variant
	}
	return s
}

// choosePlatform picks the manifest for want: the exact one, else the best
// that runs there (a lower variant of the same architecture).
func choosePlatform(manifests []ispec.Descriptor, want ispec.Platform) (ispec.Descriptor, error) {
	best, bestScore := -1, 0
	var have []string
	for i := range manifests {
		m := &manifests[i]
		if m.MediaType != "" && !isManifestType(m.MediaType) || m.Annotations["vnd.docker.reference.type"] != "" {
			continue // attestations and the like
		}
		if m.Platform == nil {
			if score := 1; score > bestScore {
				best, bestScore = i, score
			}
			continue
		}
		p := normalPlatform(*m.Platform)
		have = append(have, platformString(p))
		if score := platformScore(p, want); score > bestScore {
			best, bestScore = i, score
		}
	}
	if best < 0 || bestScore == 1 && len(have) > 0 {
		return ispec.Descriptor{}, fmt.Errorf("%w %s: there is %s", ErrNoPlatform, platformString(want), strings.Join(have, ", "))
	}
	return manifests[best], nil
}

func platformScore(p, want ispec.Platform) int {
	if p.OS != want.OS || p.Architecture != want.Architecture {
		return 0
	}
	switch {
	case p.Variant == want.Variant:
		return 100
	case p.Variant < want.Variant:
		return 10 + len(p.Variant) + variantLevel(p.Variant)
	}
	return 0
}

func variantLevel(v string) int {
	if len(v) == 2 && v[0] == 'v' {
		return int(v[1] - '0')
	}
	return 0
}
