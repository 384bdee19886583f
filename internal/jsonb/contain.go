package jsonb

import "she/internal/fuel"

// A Constant is a JSON value of a query, prepared once so that it can be compared with many records
// quickly.
type Constant struct {
	text    string
	kind    Kind
	members map[string]*Constant // of an object
	scalars map[string]int       // of an array: its distinct scalars, numbered
	inner   []*Constant          // of an array: its arrays and objects
}

// NewConstant prepares canonical text.
func NewConstant(text string) *Constant {
	c := &Constant{text: text, kind: KindOf(text)}
	switch c.kind {
	case Array:
		c.scalars = make(map[string]int)
		for e := range Elements(text) {
			if !KindOf(e).Scalar() {
				c.inner = append(c.inner, NewConstant(e))
			} else if _, seen := c.scalars[e]; !seen {
				c.scalars[e] = len(c.scalars)
			}
		}
	case Object:
		c.members = make(map[string]*Constant)
		for key, value := range Members(text) {
			c.members[key] = NewConstant(value)
		}
	}
	return c
}

// In reports whether value contains the constant (value @> c). At the top, and only there, an array
// contains a scalar that is one of its elements.
func (c *Constant) In(m *fuel.Meter, value string) bool {
	if c.kind.Scalar() && KindOf(value) == Array {
		m.Spend(len(value))
		for e := range Elements(value) {
			if e == c.text {
				return true
			}
		}
		return false
	}
	return c.within(m, value)
}

func (c *Constant) within(m *fuel.Meter, value string) bool {
	m.Spend(costVisit)
	if c.kind != KindOf(value) {
		return false
	}
	switch c.kind {
	case Object:
		m.Spend(len(value))
		found := 0
		for key, v := range Members(value) {
			if wanted := c.members[key]; wanted != nil {
				if !wanted.within(m, v) {
					return false
				}
				found++
			}
		}
		return found == len(c.members)
	case Array:
		return c.scalarsIn(m, value) && c.innerIn(m, value)
	}
	return c.text == value
}

func (c *Constant) scalarsIn(m *fuel.Meter, array string) bool {
	left := len(c.scalars)
	if left == 0 {
		return true
	}
	m.Spend(len(array) + left/64)
	var small [4]uint64
	seen := small[:]
	if left > 64*len(small) {
		seen = make([]uint64, left/64+1)
	}
	for e := range Elements(array) {
		n, wanted := c.scalars[e]
		if !wanted || seen[n/64]&(1<<(n%64)) != 0 {
			continue
		}
		seen[n/64] |= 1 << (n % 64)
		if left--; left == 0 {
			return true
		}
	}
	return false
}

func (c *Constant) innerIn(m *fuel.Meter, array string) bool {
next:
	for _, want := range c.inner {
		m.Spend(len(array))
		for e := range Elements(array) {
			if want.within(m, e) {
				continue next
			}
		}
		return false
	}
	return true
}

// Has reports whether the constant contains value (value <@ c), the mirror image of In.
func (c *Constant) Has(m *fuel.Meter, value string) bool {
	if c.kind == Array && KindOf(value).Scalar() {
		_, ok := c.scalars[value]
		return ok
	}
	return c.around(m, value)
}

func (c *Constant) around(m *fuel.Meter, value string) bool {
	m.Spend(costVisit)
	if c.kind != KindOf(value) {
		return false
	}
	if !c.kind.Scalar() {
		m.Spend(len(value))
	}
	switch c.kind {
	case Object:
		for key, v := range Members(value) {
			if around := c.members[key]; around == nil || !around.around(m, v) {
				return false
			}
		}
		return true
	case Array:
	next:
		for e := range Elements(value) {
			if KindOf(e).Scalar() {
				if _, ok := c.scalars[e]; !ok {
					return false
				}
				continue
			}
			for _, inner := range c.inner {
				if inner.around(m, e) {
					continue next
				}
			}
			return false
		}
		return true
	}
	return c.text == value
}
