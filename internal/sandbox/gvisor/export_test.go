package gvisor

import (
	"context"

	"she/internal/sandbox"
)

// StartOn is Start on the given images of files.
func (m *Mechanism) StartOn(ctx context.Context, p sandbox.Program, root, own string) (sandbox.Instance, error) {
	i, _, err := m.startOn(ctx, p, images{root: root, own: own})
	if err != nil {
		return nil, err
	}
	return i, nil
}

// Save is what Checkpoint does once an instance is ready.
func Save(ctx context.Context, i sandbox.Instance, dir string) error {
	return i.(*instance).save(ctx, dir)
}
