package e2e
import ("testing";"time")
func TestZZSlow(t *testing.T) { time.Sleep(5*time.Minute) }
