package pgalloc

// shared is closed once the pages that need not be read are known, and nil if all have to be.
var shared chan struct{}

// HoldPages has the reading of pages wait for ReadPages.
func HoldPages() { shared = make(chan struct{}) }

// ReadPages lets pages be read that still have a reference.
func ReadPages() { close(shared) }

func awaitShared() {
	if shared != nil {
		<-shared
	}
}
