// Package erofs writes images of EROFS, a read-only file system of Linux that gVisor can mount too: a directory of the
// host, frozen in one file that all sandboxes map into their memory and share. Nothing is compressed, and every file lies
// in one piece at the beginning of a page, which is what gVisor asks of files that are to be mapped.
//
// It only writes. What is in an image is read by the kernel of a sandbox, so an image must never come from anyone else.
//
// Format: https://docs.kernel.org/filesystems/erofs.html and fs/erofs/erofs_fs.h of Linux.
package erofs

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// A Node is a file, a directory or a symbolic link that is to be in an image.
type Node struct {
	Mode   uint32 // type and permissions as in stat(2)
	UID    uint32
	GID    uint32
	Links  uint32 // names a file has, also those elsewhere
	Sec    int64  // of the last change of the content, since 1970
	Nsec   uint32
	Size   int64  // of a file's content
	Source string // where a file's content is on the host; none if it is not shown
	Target string // of a symbolic link

	entries map[string]*Node // of a directory; two names of one file are one Node

	// Filled when the image is laid out.
	nid   uint64 // where the inode is, in slots; not zero
	block uint32 // where the content begins
	tail  bool   // the end of a directory, or a link's target, is behind the inode
	sizes []int  // of a directory's blocks, in bytes
}

// Directory is an empty one that is root's.
func Directory() *Node {
	return &Node{Mode: unix.S_IFDIR | 0o755, entries: map[string]*Node{}}
}

// Put puts a tree at a path below n, in place of what is there. Directories on the way are made where there are none; a
// link on the way is an error.
func (n *Node) Put(path string, tree *Node) error {
	names := strings.Split(strings.Trim(filepath.Clean("/"+path), "/"), "/")
	for i, name := range names {
		if n.Mode&unix.S_IFMT != unix.S_IFDIR || name == "" {
			return fmt.Errorf("%q leads through what is no directory", path)
		}
		if i == len(names)-1 {
			n.entries[name] = tree
			return nil
		}
		if n.entries[name] == nil {
			n.entries[name] = Directory()
		}
		n = n.entries[name]
	}
	return nil
}

// Walk describes a directory of the host with all that is in it, or a single file. Who maps an image can read all of it,
// whatever the modes in it say, so it holds only what everyone on the host may read: a directory that others may not list
// and enter is shown empty, as is one on another file system; a file that others may not read is shown without content,
// and is left out if they may run it: it would be a program that does nothing. What mode dir itself has is not asked, for
// whoever names it wants it shown. Left out are devices, sockets and pipes. Bytes is the content of all files.
func Walk(dir string) (root *Node, bytes int64, err error) {
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		return nil, 0, fmt.Errorf("look at %s: %w", dir, err)
	}
	root = nodeOf(&st)
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		w := walker{device: st.Dev, files: map[uint64]*Node{}}
		err = w.fill(root, dir)
		return root, w.bytes, err
	case unix.S_IFREG:
		if st.Mode&othersRead == 0 {
			return nil, 0, fmt.Errorf("%s may not be read by others", dir)
		}
		real, err := filepath.EvalSymlinks(dir)
		root.Source, root.Size, root.Links = real, st.Size, 1
		return root, st.Size, err
	}
	return nil, 0, fmt.Errorf("%s is neither a directory nor a file", dir)
}

// What others may do with a file, or a directory.
const (
	othersRead = 0o004
	othersRun  = 0o001
)

type walker struct {
	device uint64
	files  map[uint64]*Node // with several names, by inode number
	bytes  int64
}

func (w *walker) fill(n *Node, dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	n.entries = make(map[string]*Node, len(entries))
	for _, e := range entries {
		path := dir + "/" + e.Name()
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return fmt.Errorf("look at %s: %w", path, err)
		}
		child := nodeOf(&st)
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFDIR:
			child.entries = map[string]*Node{}
			if st.Dev == w.device && st.Mode&othersRead != 0 && st.Mode&othersRun != 0 {
				if err := w.fill(child, path); err != nil {
					return err
				}
			}
		case unix.S_IFREG:
			if known := w.files[st.Ino]; known != nil {
				child = known
				break
			}
			if st.Mode&othersRead != 0 {
				child.Source, child.Size = path, st.Size
				w.bytes += st.Size
			} else if st.Mode&othersRun != 0 {
				continue
			}
			if st.Nlink > 1 {
				w.files[st.Ino] = child
			}
		case unix.S_IFLNK:
			if child.Target, err = os.Readlink(path); err != nil {
				return err
			}
		default:
			continue
		}
		n.entries[e.Name()] = child
	}
	return nil
}

func nodeOf(st *unix.Stat_t) *Node {
	return &Node{Mode: st.Mode, UID: st.Uid, GID: st.Gid, Links: uint32(st.Nlink), Sec: st.Mtim.Sec, Nsec: uint32(st.Mtim.Nsec)}
}

// names are a directory's, in the order of an image: by bytes, with itself and its parent among them.
func (n *Node) names() []string {
	names := make([]string, 0, len(n.entries)+2)
	names = append(names, ".", "..")
	for name := range n.entries {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Form is to be raised when the same tree gets another image.
const Form = 2

// Digest tells trees apart, as far as their images are not the same. With content it reads all files, and does not look
// at times; without, a file is known by its size and time.
func (n *Node) Digest(content bool) (sum [sha256.Size]byte, err error) {
	h := sha256.New()
	fmt.Fprintf(h, "form %d ", Form)
	err = n.digest(h, content)
	return [sha256.Size]byte(h.Sum(nil)), err
}

func (n *Node) digest(h hash.Hash, content bool) error {
	head := []uint64{uint64(n.Mode), uint64(n.UID), uint64(n.GID), uint64(n.Size), uint64(len(n.entries)), uint64(len(n.Target))}
	if !content {
		head = append(head, uint64(n.Sec), uint64(n.Nsec))
	}
	if err := binary.Write(h, binary.LittleEndian, head); err != nil {
		return err
	}
	_, _ = io.WriteString(h, n.Target)
	if content && n.Source != "" {
		f, err := n.open()
		if err != nil {
			return err
		}
		_, err = io.CopyN(h, f, n.Size)
		_ = f.Close()
		if err != nil {
			return fmt.Errorf("read %s: %w", n.Source, err)
		}
	}
	for _, name := range n.names() {
		if child := n.entries[name]; child != nil {
			fmt.Fprintf(h, "%d %s", len(name), name)
			if err := child.digest(h, content); err != nil {
				return err
			}
		}
	}
	return nil
}

// open opens a file's content, if it is still that which was seen.
func (n *Node) open() (*os.File, error) {
	f, err := os.OpenFile(n.Source, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	var st unix.Stat_t
	if err = unix.Fstat(int(f.Fd()), &st); err == nil && (st.Mode&unix.S_IFMT != unix.S_IFREG || st.Size != n.Size || st.Mtim.Sec != n.Sec || uint32(st.Mtim.Nsec) != n.Nsec) {
		err = fmt.Errorf("%s changes while it is read", n.Source)
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}
