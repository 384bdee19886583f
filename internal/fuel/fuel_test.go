package fuel

import "testing"

func TestMeter(t *testing.T) {
	var told []int64
	m := New(func(units int64) { told = append(told, units) })
	for range Slice {
		m.Spend(1)
	}
	if len(told) != 0 || m.Untold() != Slice {
		t.Errorf("after one slice: told %v, untold %d", told, m.Untold())
	}
	m.Spend(1)
	m.Spend(3 * Slice)
	m.Spend(5)
	if len(told) != 2 || told[0] != Slice+1 || told[1] != 3*Slice || m.Untold() != 5 {
		t.Errorf("told %v, untold %d", told, m.Untold())
	}
	(*Meter)(nil).Spend(1) // counts nothing
}

// After the owner of a Meter ended the work by a panic, the Meter continues to count from where it was.
func TestMeterAfterPanic(t *testing.T) {
	var total int64
	m := New(func(units int64) { total += units; panic("over") })
	for range 3 {
		func() {
			defer func() {
				if recover() != "over" {
					t.Error("the panic is lost")
				}
			}()
			m.Spend(Slice + 1)
		}()
	}
	if total != 3*(Slice+1) || m.Untold() != 0 {
		t.Errorf("%d units, untold %d", total, m.Untold())
	}
}
