package bundle

// A constant is a JSON value of a query, taken apart once so that records can be held against it quickly.
type constant struct {
	text    string
	kind    kind
	members map[string]*constant // of an object
	scalars map[string]int       // of an array: its distinct scalars, numbered
	inner   []*constant          // of an array: its arrays and objects
}

func newConstant(text string) *constant {
	c := &constant{text: text, kind: kindOf(text)}
	switch c.kind {
	case kindArray:
		c.scalars = make(map[string]int)
		for e := range elements(text) {
			if !kindOf(e).scalar() {
				c.inner = append(c.inner, newConstant(e))
			} else if _, seen := c.scalars[e]; !seen {
				c.scalars[e] = len(c.scalars)
			}
		}
	case kindObject:
		c.members = make(map[string]*constant)
		for key, value := range members(text) {
			c.members[key] = newConstant(value)
		}
	}
	return c
}

// in says whether value contains the constant (value @> c). At the top, and only there, an array contains a scalar that
// is one of its elements.
func (c *constant) in(value string) bool { return c.inside(nil, value) }

func (c *constant) inside(m *meter, value string) bool {
	if c.kind.scalar() && kindOf(value) == kindArray {
		m.spend(len(value))
		for e := range elements(value) {
			if e == c.text {
				return true
			}
		}
		return false
	}
	return c.within(m, value)
}

func (c *constant) within(m *meter, value string) bool {
	m.spend(costQuery)
	if c.kind != kindOf(value) {
		return false
	}
	switch c.kind {
	case kindObject:
		m.spend(len(value))
		found := 0
		for key, v := range members(value) {
			if wanted := c.members[key]; wanted != nil {
				if !wanted.within(m, v) {
					return false
				}
				found++
			}
		}
		return found == len(c.members)
	case kindArray:
		return c.scalarsIn(m, value) && c.innerIn(m, value)
	}
	return c.text == value
}

func (c *constant) scalarsIn(m *meter, array string) bool {
	left := len(c.scalars)
	if left == 0 {
		return true
	}
	m.spend(len(array) + left/64)
	var small [4]uint64
	seen := small[:]
	if left > 64*len(small) {
		seen = make([]uint64, left/64+1)
	}
	for e := range elements(array) {
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

func (c *constant) innerIn(m *meter, array string) bool {
next:
	for _, want := range c.inner {
		m.spend(len(array))
		for e := range elements(array) {
			if want.within(m, e) {
				continue next
			}
		}
		return false
	}
	return true
}

// has says whether the constant contains value (value <@ c), the mirror image of in.
func (c *constant) has(value string) bool { return c.holds(nil, value) }

func (c *constant) holds(m *meter, value string) bool {
	if c.kind == kindArray && kindOf(value).scalar() {
		_, ok := c.scalars[value]
		return ok
	}
	return c.around(m, value)
}

func (c *constant) around(m *meter, value string) bool {
	m.spend(costQuery)
	if c.kind != kindOf(value) {
		return false
	}
	if !c.kind.scalar() {
		m.spend(len(value))
	}
	switch c.kind {
	case kindObject:
		for key, v := range members(value) {
			if around := c.members[key]; around == nil || !around.around(m, v) {
				return false
			}
		}
		return true
	case kindArray:
	next:
		for e := range elements(value) {
			if kindOf(e).scalar() {
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
