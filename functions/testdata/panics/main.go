// Command bootstrap dies of a panic in a goroutine of its own, which no runtime client can catch, with the owner's data in
// the message.
package main

func main() {
	serve("panics", func(records []record) ([]response, error) {
		go func() {
			for _, r := range records {
				panic("cannot handle " + string(r.Data))
			}
			panic("nothing to handle")
		}()
		select {}
	})
}
