package bundle

import (
	"slices"

	"she/internal/hat"
)

// A Diff describes how the reads of two bundles differ.
type Diff struct {
	NewEndpoints     []hat.Endpoint // endpoints only in asked
	DroppedEndpoints []hat.Endpoint // endpoints only in granted
	Added            []Difference   // reads of asked beyond granted
	Removed          []Difference   // reads of granted beyond asked
}

// IsZero reports whether both read the same.
func (d Diff) IsZero() bool { return len(d.Added) == 0 && len(d.Removed) == 0 }

// Differs compares two bundles written before any run, by the rules of Covers and in both directions. If
// nothing was added, granted covers asked. Two dates in the place of two dates are no difference: they count
// as the windows of two moments, and Covers checks them at each run.
func Differs(granted, asked Bundle) (d Diff) {
	_, d.Added = foresees(granted, asked)
	_, d.Removed = foresees(asked, granted)
	had, wants := granted.Endpoints(), asked.Endpoints()
	d.NewEndpoints, d.DroppedEndpoints = without(wants, had), without(had, wants)
	return d
}

// Widens reports whether asked reads anything beyond granted.
func Widens(granted, asked Bundle) bool {
	covered, _ := foresees(granted, asked)
	return !covered
}

func without(all, some []hat.Endpoint) []hat.Endpoint {
	return slices.DeleteFunc(slices.Clone(all), func(e hat.Endpoint) bool { return slices.Contains(some, e) })
}
