# berth. `make help` lists what can be made.
PREFIX  ?= /usr
DESTDIR ?=
GO      := $(shell build/go)
export CGO_ENABLED = 0
export GOTOOLCHAIN = local
export GOFLAGS     = -buildvcs=false

LIBEXEC  = berth-shim berth-hook berth-runtime berth-runtime-full berth-init berth-full
GENERATE = berth-generator
BINARIES = berth $(LIBEXEC) $(GENERATE)
# Symbol tables are of no use in a supervisor that lives in memory a thousand
# times; -trimpath makes builds of one tree equal wherever they are made; the tag
# urfave_cli_no_docs leaves out a Markdown parser that costs each start 0.3 ms;
# lean (image/lean.go, cmd/berth-runtime/whole.go) what only berth-full and
# berth-runtime-full have, another 0.7 ms.
TAGS     = urfave_cli_no_docs,lean
BUILD    = $(GO) build -trimpath -tags $(TAGS) -ldflags '-s -w'

.DEFAULT_GOAL := build
.PHONY: build install check test demo bench clean help fmt $(BINARIES)

build: $(BINARIES) ## the binaries, static, in bin/

$(filter-out %-full,$(BINARIES)):
	@mkdir -p bin
	$(BUILD) -o bin/$@ ./cmd/$@

# The client with registries and decompressors in it, executed where needed.
berth-full: TAGS = urfave_cli_no_docs
berth-full:
	@mkdir -p bin
	$(BUILD) -o bin/$@ ./cmd/berth

# The runtime with what speaks to systemd and CRIU, likewise.
berth-runtime-full: TAGS = urfave_cli_no_docs
berth-runtime-full:
	@mkdir -p bin
	$(BUILD) -o bin/$@ ./cmd/berth-runtime

install: build ## everything below DESTDIR/PREFIX
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/libexec/berth \
		$(DESTDIR)$(PREFIX)/lib/systemd/system $(DESTDIR)$(PREFIX)/lib/systemd/system-generators \
		$(DESTDIR)$(PREFIX)/lib/tmpfiles.d $(DESTDIR)$(PREFIX)/share/bash-completion/completions \
		$(DESTDIR)$(PREFIX)/share/doc/berth $(DESTDIR)$(PREFIX)/share/berth/apparmor
	install -m 755 bin/berth $(DESTDIR)$(PREFIX)/bin/berth
	install -m 755 $(addprefix bin/,$(LIBEXEC)) $(DESTDIR)$(PREFIX)/libexec/berth/
	install -m 755 bin/berth-generator $(DESTDIR)$(PREFIX)/lib/systemd/system-generators/berth-generator
	for u in contrib/systemd/*; do sed 's,@PREFIX@,$(PREFIX),g' $$u \
		>$(DESTDIR)$(PREFIX)/lib/systemd/system/$$(basename $$u) || exit 1; done
	install -m 644 contrib/tmpfiles.d/berth.conf $(DESTDIR)$(PREFIX)/lib/tmpfiles.d/berth.conf
	install -m 644 contrib/apparmor.d/berth-default $(DESTDIR)$(PREFIX)/share/berth/apparmor/berth-default
	install -m 644 contrib/completions/berth.bash $(DESTDIR)$(PREFIX)/share/bash-completion/completions/berth
	install -m 644 README.md ARCHITECTURE.md LICENSE $(DESTDIR)$(PREFIX)/share/doc/berth/

check: ## format, vet, staticcheck, import table, unit tests: no root, no systemd
	@test -z "$$($(GO)fmt -l $$(git ls-files '*.go') | tee /dev/stderr)" || { echo 'not formatted: run make fmt'; exit 1; }
	$(GO) vet ./...
	$(GO) tool staticcheck ./...
	$(GO) test ./...

fmt: ## format the Go files
	$(GO)fmt -w $$(git ls-files '*.go')

test: check ## every lane: check, the box under systemd 252 and 257, the VM
	test/run

demo: build ## pull an image and run it, in a private systemd where PID 1 is another
	test/demo

bench: build ## berth beside podman, docker, crun and runc, in one run
	test/bench/run

clean: ## what was built here; test caches stay
	rm -rf bin dist

help: ## this list
	@sed -n 's/^\([a-z]*\):[^#]*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20
