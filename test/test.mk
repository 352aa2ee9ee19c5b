# Targets of the test lanes; include it in the Makefile. They need root and Debian.

.PHONY: lane-box257 lane-box252 lane-vm257 lane-vm252 prepare unprepare

lane-box257 lane-box252 lane-vm257 lane-vm252: ## one lane, LANE='-run X -v'
	test/run $(LANE) $(@:lane-%=%)

prepare: ## what all lanes need, into the cache
	test/prepare trixie bookworm vm-trixie vm-bookworm

unprepare: ## end all boxes and VMs, forget trees of older recipes
	test ! -x test/bin/box || test/bin/box kill --all
	test ! -x test/bin/vm || test/bin/vm kill --all
	test/rootfs --prune
