package hatapi

import "time"

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

var morning = time.Date(2026, 3, 4, 9, 0, 0, 0, time.UTC)
