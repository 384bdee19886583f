package worker

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"she/internal/sandbox/wasm"
)

// An image is a module after compilation, made by one worker for others:
//
//	"she-wasm image 1\n" | length 4 bytes, big endian | the outline | length 2 bytes | name | the engine's cache entry
//
// The outline is the module without the code of its functions (see outline), and name is where, below a cache
// directory, the engine looks for the entry of the outline. Whoever could forge an image could run code of theirs in
// workers of the same module; they have that already.
const imageHead = "she-wasm image 1\n"

const maxName = 1024

var errImage = errors.New("not an image of this program")

func writeImage(w io.Writer, outline []byte, name string, entry io.Reader) error {
	head := binary.BigEndian.AppendUint32([]byte(imageHead), uint32(len(outline)))
	head = append(head, outline...)
	head = binary.BigEndian.AppendUint16(head, uint16(len(name)))
	head = append(head, name...)
	if _, err := w.Write(head); err != nil {
		return err
	}
	_, err := io.Copy(w, entry)
	return err
}

// readImage gives the outline and puts the engine's entry in its place below dir.
func readImage(r *os.File, dir string) (outline []byte, err error) {
	head := make([]byte, len(imageHead)+4)
	if _, err := io.ReadFull(r, head); err != nil || string(head[:len(imageHead)]) != imageHead {
		return nil, errImage
	}
	n := binary.BigEndian.Uint32(head[len(imageHead):])
	if n > wasm.MaxModule {
		return nil, errImage
	}
	outline = make([]byte, n)
	if _, err := io.ReadFull(r, outline); err != nil {
		return nil, errImage
	}
	var size [2]byte
	if _, err := io.ReadFull(r, size[:]); err != nil || binary.BigEndian.Uint16(size[:]) > maxName {
		return nil, errImage
	}
	name := make([]byte, binary.BigEndian.Uint16(size[:]))
	if _, err := io.ReadFull(r, name); err != nil || !filepath.IsLocal(string(name)) {
		return nil, errImage
	}
	file := filepath.Join(dir, string(name))
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return nil, fmt.Errorf("unpack the image: %w", err)
	}
	f, err := os.OpenFile(file, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("unpack the image: %w", err)
	}
	_, err = io.Copy(f, r)
	return outline, errors.Join(err, f.Close())
}

// The sections of a module: https://webassembly.github.io/spec/core/binary/modules.html.
const (
	moduleHead    = "\x00asm\x01\x00\x00\x00"
	sectionCustom = 0
	sectionCode   = 10
)

var errModule = errors.New("not a WebAssembly module")

// outline gives the module with each function's code replaced by a trap, and without names and debug information: all
// the engine reads of a module whose native code it has. Reading and checking the code itself would be most of the
// time a worker takes to start.
func outline(module []byte) ([]byte, error) {
	rest, ok := cutPrefix(module, moduleHead)
	if !ok {
		return nil, errModule
	}
	out := []byte(moduleHead)
	for len(rest) > 0 {
		id := rest[0]
		size, n := binary.Uvarint(rest[1:])
		if n <= 0 || size > uint64(len(rest)-1-n) {
			return nil, errModule
		}
		whole, body := rest[:1+n+int(size)], rest[1+n:][:size]
		rest = rest[len(whole):]
		switch id {
		case sectionCustom:
		case sectionCode:
			count, n := binary.Uvarint(body)
			if n <= 0 || count > uint64(len(body)) {
				return nil, errModule
			}
			traps := binary.AppendUvarint(nil, count)
			for range count {
				traps = append(traps, 3, 0x00, 0x00, 0x0b) // three bytes: no locals, unreachable, end
			}
			out = binary.AppendUvarint(append(out, sectionCode), uint64(len(traps)))
			out = append(out, traps...)
		default:
			out = append(out, whole...)
		}
	}
	return out, nil
}

func cutPrefix(b []byte, prefix string) ([]byte, bool) {
	if len(b) < len(prefix) || string(b[:len(prefix)]) != prefix {
		return nil, false
	}
	return b[len(prefix):], true
}
