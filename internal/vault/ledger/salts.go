package ledger

import (
	"crypto/rand"

	"she/internal/receipt"
)

// salts hands out random bytes that are read many at a time, to save system calls. The holder of the writer
// lock uses it.
type salts struct {
	buf  [32 * receipt.SaltSize]byte
	left int // unused bytes, at the end of buf
}

// take returns n salts, one after the other.
func (s *salts) take(n int) []byte {
	all := make([]byte, n*receipt.SaltSize)
	if len(all) > len(s.buf) {
		_, _ = rand.Read(all) // can't fail
		return all
	}
	if s.left < len(all) {
		_, _ = rand.Read(s.buf[:])
		s.left = len(s.buf)
	}
	from := s.buf[len(s.buf)-s.left:]
	copy(all, from)
	clear(from[:len(all)]) // no salt stays in memory after its record is written
	s.left -= len(all)
	return all
}

func saltOf(salts []byte, i int) []byte { return salts[i*receipt.SaltSize : (i+1)*receipt.SaltSize] }
