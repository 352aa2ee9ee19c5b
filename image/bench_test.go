package image

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	ggcr "github.com/google/go-containerregistry/pkg/registry"
	"github.com/klauspost/compress/gzip"
	"golang.org/x/sys/unix"
)

// realisticTar makes a layer like those of a distribution: many small files,
// some large ones, text and binaries that compress to about 40 %.
func realisticTar(size int, seed uint64) []byte {
	rnd := rand.New(rand.NewPCG(seed, 1))
	words := make([][]byte, 4096)
	for i := range words {
		words[i] = make([]byte, 3+rnd.IntN(12))
		for j := range words[i] {
			words[i][j] = byte(32 + rnd.IntN(90))
		}
	}
	var b bytes.Buffer
	b.Grow(size + size/8)
	tw := tar.NewWriter(&b)
	for n := 0; b.Len() < size; n++ {
		if n%50 == 0 {
			tw.WriteHeader(&tar.Header{Name: fmt.Sprintf("usr/lib/d%d/", n/50), Typeflag: tar.TypeDir, Mode: 0o755, ModTime: time.Unix(1e9, 0)})
		}
		want := 200 << rnd.IntN(9)
		if n%100 == 0 {
			want = 4 << 20
		}
		var f []byte
		for len(f) < want {
			f = append(f, words[min(rnd.IntN(len(words)), rnd.IntN(len(words)))]...)
		}
		tw.WriteHeader(&tar.Header{Name: fmt.Sprintf("usr/lib/d%d/f%d", n/50, n), Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(f)), ModTime: time.Unix(1e9, 0)})
		tw.Write(f)
	}
	tw.Close()
	return b.Bytes()
}

// BenchmarkPull pulls and unpacks an image of 300 MB (uncompressed) in five
// layers from a registry on loopback. BERTH_BENCH_ROOT places the store.
func BenchmarkPull(b *testing.B) {
	reg := httptest.NewServer(ggcr.New(ggcr.Logger(log.New(io.Discard, "", 0))))
	defer reg.Close()
	var layers []testLayer
	total := 0
	for i, mb := range []int{120, 80, 60, 30, 10} {
		data := realisticTar(mb<<20, uint64(i))
		var z bytes.Buffer
		zw, _ := gzip.NewWriterLevel(&z, 6)
		zw.Write(data)
		zw.Close()
		layers = append(layers, testLayer{tar: data, blob: z.Bytes(), mediaType: "application/vnd.oci.image.layer.v1.tar+gzip"})
		b.Logf("layer %d: %d MB, compressed %d MB", i, len(data)>>20, z.Len()>>20)
		total += len(data)
	}
	newTestImage(b, layers...).push(b, reg.URL, "big", "1")
	name := strings.TrimPrefix(reg.URL, "http://") + "/big:1"
	b.SetBytes(int64(total))
	before, pulls := cpuTime(b), 0
	for b.Loop() {
		pulls++
		root, err := os.MkdirTemp(os.Getenv("BERTH_BENCH_ROOT"), "berth-bench-")
		if err != nil {
			b.Fatal(err)
		}
		s, err := Open(root, nil)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := s.Pull(context.Background(), name, nil); err != nil {
			b.Fatal(err)
		}
		// Not now: ext4 avoids inodes that were deleted seconds ago, and its
		// search for others would be measured with the next pull.
		b.Cleanup(func() { os.RemoveAll(root) })
	}
	b.ReportMetric(float64((cpuTime(b)-before).Milliseconds())/float64(pulls), "cpu-ms/op")
}

// cpuTime is what counts on a machine that others use too. The registry's
// share, which is in the same process, is small.
func cpuTime(b *testing.B) time.Duration {
	var ru unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &ru); err != nil {
		b.Fatal(err)
	}
	return time.Duration(ru.Utime.Nano() + ru.Stime.Nano())
}

// BenchmarkResolve is on the way of every start.
func BenchmarkResolve(b *testing.B) {
	for _, n := range []int{1, 30, 100} {
		b.Run(fmt.Sprintf("images=%d", n), func(b *testing.B) {
			s := openTest(b)
			var layers []testLayer
			for i := range 8 {
				layers = append(layers, layerOf(b, fmt.Sprintf("f%d=x", i)))
			}
			for i := range n {
				putImage(b, s, fmt.Sprintf("docker.io/library/web%d:1", i), newTestImage(b, append(layers, layerOf(b, fmt.Sprintf("i%d=x", i)))...))
			}
			for b.Loop() {
				if _, err := s.Resolve("web0:1"); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
