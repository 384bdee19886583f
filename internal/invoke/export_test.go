package invoke

// Settle waits until no instance is being made or removed in the background.
func (v *Invoker) Settle() {
	v.removing.Wait()
	v.stock.making.Wait()
}
