// Package e2e tests the installed product from outside, as a user would: through its commands, systemd's and curl.
//
// Its tests run in a lane (test/lane): a box or a VM in which the product is installed, registries answer on
// localhost:5000 and 5001 (user berth, password secret), and everything is gone afterwards. Elsewhere they skip.
// What a lane offers is in the environment:
//
//	BERTH_LANE      box252, box257, vm252 or vm257: kind of lane, and systemd's version in it
//	BERTH_PRODUCT   set when the product is installed
//
// A test starts with [Lane], which skips outside a lane, or with [Product].
package e2e
