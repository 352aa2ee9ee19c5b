package image

import "os"

// removeAll deletes a tree that may hold directories nobody may write to.
func removeAll(path string) error { return os.RemoveAll(path) }
