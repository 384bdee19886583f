package bundle

import (
	"slices"

	"she/internal/hat"
)

// A Diff says how what one bundle reads differs from what another does.
type Diff struct {
	NewEndpoints     []hat.Endpoint // named by asked alone
	DroppedEndpoints []hat.Endpoint // named by granted alone
	Added            []Difference   // what asked reads beyond granted
	Removed          []Difference   // what granted reads beyond asked
}

// IsZero says that both read the same.
func (d Diff) IsZero() bool { return len(d.Added) == 0 && len(d.Removed) == 0 }

// Differs compares two bundles that were written before any run, by the rules of Covers and in both directions: granted
// covers asked where nothing was added. Two dates under two dates are no difference: they are taken for the windows of two
// moments, and Covers looks at each run whether they are.
func Differs(granted, asked Bundle) (d Diff) {
	_, d.Added = foresees(granted, asked)
	_, d.Removed = foresees(asked, granted)
	had, wants := granted.Endpoints(), asked.Endpoints()
	d.NewEndpoints, d.DroppedEndpoints = without(wants, had), without(had, wants)
	return d
}

// Widens says whether Differs finds anything added.
func Widens(granted, asked Bundle) bool {
	covered, _ := foresees(granted, asked)
	return !covered
}

func without(all, some []hat.Endpoint) []hat.Endpoint {
	return slices.DeleteFunc(slices.Clone(all), func(e hat.Endpoint) bool { return slices.Contains(some, e) })
}
