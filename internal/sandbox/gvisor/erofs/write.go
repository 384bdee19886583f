package erofs

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// What is on disk, all little-endian:
//
//	block 0      nothing, and the superblock at 1024
//	block 1…     inodes, each in slots of 32 bytes and not across the end of a block; behind an inode the end of a
//	             directory, or the target of a link, if that fits into the same block
//	then         the full blocks of directories
//	then         the content of files, each from the beginning of a block on, in the order of the tree
//
// A block of a directory is its entries, 12 bytes each, then their names.
const (
	blockBits  = 12
	blockSize  = 1 << blockBits
	slotSize   = 32
	inodeSize  = 64
	entrySize  = 12
	maxName    = 255
	superAt    = 1024
	superSize  = 128
	magic      = 0xe0f5e1e2
	checksum   = 1 // feature: the superblock has one
	extended   = 1 // inode version
	plain      = 0 // layouts of content
	inline     = 2
	firstInode = 1 // block
)

// ID names an image; it is in its superblock.
type ID [16]byte

// superblock is struct erofs_super_block as far as it is used.
type superblock struct {
	Magic, Checksum, FeatureCompat uint32
	BlockBits, ExtSlots            uint8
	RootNid                        uint16
	Inodes, BuildTime              uint64
	BuildTimeNsec, Blocks          uint32
	MetaBlock, XattrBlock          uint32
	UUID                           ID
	VolumeName                     [16]byte
	FeatureIncompat                uint32
	_                              [44]byte
}

// inode is struct erofs_inode_extended.
type inode struct {
	Format, XattrCount, Mode, _ uint16
	Size                        uint64
	Block, Number, UID, GID     uint32
	Sec                         uint64
	Nsec, Links                 uint32
	_                           [16]byte
}

// entry is struct erofs_dirent.
type entry struct {
	Nid    uint64
	NameAt uint16
	Type   uint8
	_      uint8
}

var types = map[uint32]uint8{unix.S_IFREG: 1, unix.S_IFDIR: 2, unix.S_IFLNK: 7}

// image is one being laid out.
type image struct {
	nodes   []*Node // in the order of their inodes
	parents map[*Node]*Node
	end     int64  // of the inodes, in bytes
	blocks  uint32 // of everything
}

// Write writes the image of a tree to an empty file. Its bytes are not yet durable when it returns. A file that changed
// since the tree was described is an error, and so is the end of ctx. A tree can be written once.
func Write(ctx context.Context, f *os.File, root *Node, id ID) error {
	im := &image{parents: map[*Node]*Node{root: root}, end: firstInode * blockSize}
	if err := im.place(root); err != nil {
		return err
	}
	im.blocks = uint32((im.end + blockSize - 1) / blockSize)
	for _, n := range im.nodes {
		if full := n.fullBlocks(); full > 0 {
			n.block = im.blocks
			im.blocks += uint32(full)
		}
	}
	last := int64(im.blocks)
	for _, n := range im.nodes {
		if n.Source != "" && n.Size > 0 {
			n.block = uint32(last)
			if last += (n.Size + blockSize - 1) / blockSize; last >= 1<<32 {
				return errors.New("the tree is too large for an image")
			}
		}
	}
	begins := im.blocks
	im.blocks = uint32(last)
	w := bufio.NewWriterSize(f, 1<<20)
	if err := im.writeMeta(w, root, id); err != nil {
		return err
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if at, err := f.Seek(0, io.SeekCurrent); err != nil || at != int64(begins)*blockSize {
		return errors.Join(err, fmt.Errorf("an image's files begin at %d instead of block %d", at, begins))
	}
	if err := f.Truncate(last * blockSize); err != nil {
		return err
	}
	for _, n := range im.nodes {
		if n.Source != "" && n.Size > 0 {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if err := n.copyTo(f); err != nil {
				return err
			}
		}
	}
	return nil
}

// copyTo writes a file's content at its place. What the host's file system can share it shares: a reflink is possible,
// because the place is a whole number of blocks.
func (n *Node) copyTo(f *os.File) error {
	from, err := n.open()
	if err != nil {
		return err
	}
	defer from.Close()
	if _, err := f.Seek(int64(n.block)*blockSize, io.SeekStart); err != nil {
		return err
	}
	if _, err := io.CopyN(f, from, n.Size); err != nil {
		return fmt.Errorf("copy %s: %w", n.Source, err)
	}
	again, err := n.open() // it did not change meanwhile
	if err != nil {
		return err
	}
	return again.Close()
}

// place gives a node and everything below it their inodes.
func (im *image) place(n *Node) error {
	if n.nid != 0 {
		return nil // another name of a file that has its place
	}
	var behind int
	switch n.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		n.Links = 2
		n.sizes = n.sizes[:0]
		n.Size = 0
		block := 0
		for _, name := range n.names() {
			if len(name) > maxName {
				return fmt.Errorf("a name of %d bytes does not fit into an image", len(name))
			}
			if block+entrySize+len(name) > blockSize {
				n.sizes = append(n.sizes, block)
				block = 0
			}
			block += entrySize + len(name)
		}
		n.sizes = append(n.sizes, block)
		n.Size = int64(len(n.sizes)-1)*blockSize + int64(block)
		behind = block
	case unix.S_IFLNK:
		n.Size = int64(len(n.Target))
		behind = len(n.Target)
	}
	n.tail = behind > 0 && behind <= blockSize-inodeSize
	need := int64(inodeSize)
	if n.tail {
		need += int64(behind)
	}
	if im.end%blockSize+need > blockSize {
		im.end = (im.end + blockSize - 1) / blockSize * blockSize
	}
	n.nid = uint64(im.end / slotSize)
	im.end = (im.end + need + slotSize - 1) / slotSize * slotSize
	im.nodes = append(im.nodes, n)
	for _, name := range n.names() {
		child := n.entries[name]
		if child == nil {
			continue
		}
		if child.Mode&unix.S_IFMT == unix.S_IFDIR {
			n.Links++
			im.parents[child] = n
		}
		if err := im.place(child); err != nil {
			return err
		}
	}
	return nil
}

// fullBlocks is how many blocks of directories or a link are not behind their inode.
func (n *Node) fullBlocks() int {
	blocks := len(n.sizes)
	if n.Mode&unix.S_IFMT == unix.S_IFLNK {
		blocks = 1
	}
	if n.tail {
		blocks--
	}
	return blocks
}

func (im *image) writeMeta(w *bufio.Writer, root *Node, id ID) error {
	if root.nid >= 1<<16 {
		return errors.New("the root of an image is too far behind")
	}
	first := make([]byte, blockSize)
	s := superblock{
		Magic: magic, FeatureCompat: checksum, BlockBits: blockBits, RootNid: uint16(root.nid),
		Inodes: uint64(len(im.nodes)), Blocks: im.blocks, UUID: id,
	}
	for range 2 { // the checksum is that of a superblock without one
		if _, err := binary.Encode(first[superAt:], binary.LittleEndian, &s); err != nil {
			return err
		}
		s.Checksum = ^crc32.Checksum(first[superAt:], crc32.MakeTable(crc32.Castagnoli))
	}
	at := int64(len(first))
	_, err := w.Write(first)
	put := func(b []byte) {
		if err == nil {
			_, err = w.Write(b)
			at += int64(len(b))
		}
	}
	upTo := func(offset int64) { put(make([]byte, offset-at)) }
	for _, n := range im.nodes {
		upTo(int64(n.nid) * slotSize)
		i := inode{
			Format: extended | plain<<1, Mode: uint16(n.Mode), Size: uint64(n.Size), Block: n.block, Number: uint32(n.nid),
			UID: n.UID, GID: n.GID, Sec: uint64(n.Sec), Nsec: n.Nsec, Links: n.Links,
		}
		if n.tail {
			i.Format = extended | inline<<1
		}
		b, encoding := binary.Append(nil, binary.LittleEndian, &i)
		err = errors.Join(err, encoding)
		if blocks := im.content(n); n.tail {
			b = append(b, blocks[len(blocks)-1]...)
		}
		put(b)
	}
	for _, n := range im.nodes {
		if full := n.fullBlocks(); full > 0 {
			for i, b := range im.content(n)[:full] {
				upTo(int64(n.block)*blockSize + int64(i)*blockSize)
				put(b)
			}
		}
	}
	upTo((at + blockSize - 1) / blockSize * blockSize)
	return err
}

// content is what a directory or a link holds, by blocks.
func (im *image) content(n *Node) [][]byte {
	switch n.Mode & unix.S_IFMT {
	case unix.S_IFLNK:
		return [][]byte{[]byte(n.Target)}
	case unix.S_IFDIR:
	default:
		return nil
	}
	names := n.names()
	blocks := make([][]byte, 0, len(n.sizes))
	for _, size := range n.sizes {
		count, used := 0, 0
		for used < size {
			used += entrySize + len(names[count])
			count++
		}
		entries, text := make([]byte, 0, size), []byte(nil)
		for _, name := range names[:count] {
			child := n.entries[name]
			switch name {
			case ".":
				child = n
			case "..":
				child = im.parents[n]
			}
			// Encoding what has a fixed size into memory can't fail.
			entries, _ = binary.Append(entries, binary.LittleEndian, &entry{
				Nid: child.nid, NameAt: uint16(count*entrySize + len(text)), Type: types[child.Mode&unix.S_IFMT],
			})
			text = append(text, name...)
		}
		blocks = append(blocks, append(entries, text...))
		names = names[count:]
	}
	return blocks
}

// Whole says whether a file is an image with this id, in hex, as long as it was when it was written.
func Whole(path, id string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	first := make([]byte, blockSize)
	if _, err := io.ReadFull(f, first); err != nil {
		return false
	}
	var s superblock
	if _, err := binary.Decode(first[superAt:], binary.LittleEndian, &s); err != nil {
		return false
	}
	clear(first[superAt+4 : superAt+8])
	info, err := f.Stat()
	return err == nil && s.Magic == magic && hex.EncodeToString(s.UUID[:]) == id && info.Size() == int64(s.Blocks)*blockSize &&
		s.Checksum == ^crc32.Checksum(first[superAt:], crc32.MakeTable(crc32.Castagnoli))
}
