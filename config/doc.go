// Package config reads berth.conf and its drop-ins: where berth keeps its
// files, which OCI runtimes it knows, what a container gets by default, which
// registries are spoken to without TLS.
//
// The files have the syntax of systemd's own: sections in brackets, KEY=VALUE,
// comments with '#' or ';', a later file overrides an earlier one, an empty
// value resets. Read in this order, as systemd.unit(5) does for drop-ins:
//
//	/usr/lib/berth/berth.conf
//	/etc/berth/berth.conf
//	{/usr/lib,/run,/etc}/berth/berth.conf.d/*.conf, by file name
//
// Nothing needs to be there: without files every default holds.
package config
