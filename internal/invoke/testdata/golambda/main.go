// An ordinary Lambda function, built with the official client and nothing of ours.
package main

import (
	"context"
	crand "crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"math/rand/v2"
	"os"
	"strings"
	"time"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-lambda-go/lambdacontext"
)

type event struct {
	N    json.Number `json:"n"`
	Fail string      `json:"fail"`

	Data *notes `json:"data"` // of a benchmark

	Draw bool `json:"draw"` // from what is random

	Do   string `json:"do"` // of an edge
	Size int    `json:"size"`
	Text string `json:"text"`
}

type notes struct {
	Notes []struct {
		Data struct {
			Message string `json:"message"`
		} `json:"data"`
	} `json:"notes"`
}

func (n notes) words() (all int) {
	for _, note := range n.Notes {
		all += len(strings.Fields(note.Data.Message))
	}
	return all
}

func handle(ctx context.Context, e event) (any, error) {
	if e.Data != nil {
		return e.Data.words(), nil
	}
	if e.Draw {
		return draw(ctx)
	}
	if e.Do != "" {
		return edge(e), nil
	}
	fmt.Println("seen", e.N)
	switch e.Fail {
	case "error":
		return nil, errors.New("a secret went wrong")
	case "panic":
		panic("a secret in panic")
	}
	c, ok := lambdacontext.FromContext(ctx)
	if !ok {
		return nil, errors.New("no Lambda context")
	}
	deadline, _ := ctx.Deadline()
	return map[string]any{"n": e.N, "id": c.AwsRequestID, "arn": c.InvokedFunctionArn, "left": time.Until(deadline).Milliseconds(),
		"name": lambdacontext.FunctionName, "memory": lambdacontext.MemoryLimitInMB}, nil
}

func main() { lambda.Start(handle) }

var (
	seeded = rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64())) // in INIT, as many do
	hashes = maphash.MakeSeed()
)

// draw gives something of each source of randomness.
func draw(ctx context.Context) (any, error) {
	c, _ := lambdacontext.FromContext(ctx)
	folder, err := os.MkdirTemp("", "x")
	if err != nil {
		return nil, err
	}
	secret := make([]byte, 16)
	_, _ = crand.Read(secret)
	return map[string]any{
		"global": fmt.Sprint(rand.Uint64()), "seeded": fmt.Sprint(seeded.Uint64()), "hash": fmt.Sprint(maphash.String(hashes, "x")), "text": crand.Text(),
		"secret": fmt.Sprintf("%x", secret), "folder": folder, "request": c.AwsRequestID, "order": fmt.Sprint(rand.Perm(60)),
		"clock": float64(time.Now().UnixMicro()) / 1e6,
	}, nil
}
