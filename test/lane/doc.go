// Lane runs the tests of test/e2e in boxes and VMs.
//
//	lane [flags] LANE...      LANE is box252, box257, vm252, vm257, vmfull257, or all (but vmfull257)
//
// For each lane it boots a tree with that version of systemd, the registries and their images, the product (a tree
// that make install filled) and the compiled tests as layers; runs the tests; and ends the box or VM. The result of a
// lane is one line; failures come with the tests' output and the end of the journal, skips with their reason. The whole
// journal of a lane with failures is left in the folder that -out names.
//
// The exit status is 1 when a test failed, and when a lane did not come to its end.
package main
