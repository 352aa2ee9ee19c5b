package shim

import (
	"bytes"
	"os"
)

// lastToDie is the OOM score of the supervisor. It counts in the container's
// unit, and each of many small processes is smaller: the kernel would kill it
// again and again, and no memory would come of that.
const lastToDie = "-998"

// oomScore is this process's oom_score_adj: lowered, but not for children. A
// runtime would hand it on to the container.
type oomScore struct {
	file *os.File
	own  []byte // what it was, and children have
}

// spare lowers the score. It returns nil where that is denied, as in a
// container: everybody has the same score then, as before.
func spare() *oomScore {
	f, err := os.OpenFile("/proc/self/oom_score_adj", os.O_RDWR, 0)
	if err != nil {
		return nil
	}
	buf := make([]byte, 16)
	n, _ := f.Read(buf)
	o := &oomScore{file: f, own: bytes.TrimSpace(buf[:n])}
	if n == 0 || o.set([]byte(lastToDie)) != nil {
		f.Close()
		return nil
	}
	return o
}

func (o *oomScore) set(score []byte) error {
	_, err := o.file.WriteAt(score, 0)
	return err
}

// giveUp has f run with the score that this process had: f forks.
// Preconditions: one at a time.
func (o *oomScore) giveUp(f func()) {
	if o == nil {
		f()
		return
	}
	_ = o.set(o.own)
	f()
	_ = o.set([]byte(lastToDie))
}
