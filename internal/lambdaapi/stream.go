package lambdaapi

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"net/http"

	"github.com/aws/aws-sdk-go-v2/aws/protocol/eventstream"
	"github.com/aws/aws-sdk-go-v2/aws/protocol/eventstream/eventstreamapi"

	"she/internal/accesskey"
)

// chunk is the number of bytes that are sent at once.
const chunk = 64 << 10

// stream: POST /2021-11-15/functions/{name}/response-streaming-invocations. Like every answer here, the
// answer is checked as a whole before any of it is sent. Then it is sent in pieces, in AWS's own frames. The
// last frame says how the call ended.
func (s *Server) stream(w http.ResponseWriter, r *http.Request, key accesskey.Key, body []byte) *failure {
	d, f := s.named(r, key, "InvokeFunction")
	if f != nil {
		return f
	}
	event, f := payload(body)
	if f != nil {
		return f
	}
	h := w.Header()
	id := h.Get("X-Amzn-Requestid")
	h.Set("X-Amz-Executed-Version", latest)
	if r.Header.Get("X-Amz-Invocation-Type") == "DryRun" {
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	reply, f := s.call(r.Context(), key, d, id, event)
	if f != nil {
		return f
	}
	var end struct {
		ErrorCode    string `json:",omitempty"`
		ErrorDetails string `json:",omitempty"`
		LogResult    string `json:",omitempty"`
	}
	if reply.Fault != nil {
		end.ErrorCode, end.ErrorDetails = reply.Fault.Code, string(document(reply, d, id))
		reply.Payload = nil
	}
	if r.Header.Get("X-Amz-Log-Type") == "Tail" {
		end.LogResult = base64.StdEncoding.EncodeToString(tail(reply, d, id))
	}
	h.Set("Content-Type", "application/vnd.amazon.eventstream")
	w.WriteHeader(http.StatusOK)
	for answer := reply.Payload; len(answer) > 0; {
		n := min(chunk, len(answer))
		if !sendFrame(w, "PayloadChunk", "application/octet-stream", answer[:n]) {
			return nil // the client is gone
		}
		answer = answer[n:]
	}
	text, _ := json.Marshal(end) // strings always encode
	sendFrame(w, "InvokeComplete", "application/json", text)
	return nil
}

// sendFrame sends one event of the stream. It returns false if the client is gone.
func sendFrame(w http.ResponseWriter, event, contentType string, payload []byte) bool {
	var b bytes.Buffer
	err := eventstream.NewEncoder().Encode(&b, eventstream.Message{
		Headers: eventstream.Headers{
			{Name: eventstreamapi.MessageTypeHeader, Value: eventstream.StringValue(eventstreamapi.EventMessageType)},
			{Name: eventstreamapi.EventTypeHeader, Value: eventstream.StringValue(event)},
			{Name: eventstreamapi.ContentTypeHeader, Value: eventstream.StringValue(contentType)},
		},
		Payload: payload,
	})
	if err != nil {
		return false
	}
	_, err = w.Write(b.Bytes())
	return err == nil
}
