package engine

import (
	"time"

	"she/internal/catalog"
	"she/internal/contract"
	"she/internal/hat"
)

// warmUp returns the warm-up event for one entry of a function: warm instances and snapshots then have in
// memory what the first event would load. It is made of the installed function alone, before any run, so it
// contains no person's data. It is the question for the configuration, the question for the bundle of a day
// long ago or, for process, the author's sample from the package, else the function's own configuration
// without records. nil: the operator wants no warm-up.
func warmUp(f catalog.Function, entry catalog.Entry) []byte {
	switch {
	case f.NoWarmUp:
		return nil
	case entry.Name == f.Configuration.Name:
		return contract.ConfigurationEvent()
	case entry.Name == f.Bundle.Name:
		day := time.Date(2000, time.January, 1, 0, 0, 0, 0, time.UTC)
		return contract.BundleEvent(hat.Window{From: day, Until: day.AddDate(0, 0, 1)})
	case f.SampleEvent != nil:
		return f.SampleEvent
	case f.Manifest == nil: // not known yet
		return nil
	}
	event, _ := contract.NewEvent(contract.Configuration(*f.Manifest, contract.Status{Available: true, Enabled: true}), f.Manifest.Bundle.Names()).Bytes()
	return event
}
