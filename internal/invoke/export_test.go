package invoke

// Settle waits until no instance is being made in the background.
func (v *Invoker) Settle() { v.stock.making.Wait() }
