package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
)

// The control protocol: conformance/proto/lateen/conformance/v1/control.proto.
const service = "/lateen.conformance.v1.Control/"

// features are what the library can do of what cases may need.
var features = []string{
	"sotw", "delta", "ads", "separate", "content-versions", "ttl", "vhds", "srds", "ecds", "sds", "rtds",
	"stream-count", "restart",
}

type resource struct {
	TypeURL  string   `json:"typeUrl"`
	Name     string   `json:"name"`
	Body     []byte   `json:"body"`
	Version  *string  `json:"version"`
	TTLMs    *uint32  `json:"ttlMs"`
	Aliases  []string `json:"aliases"`
	OnDemand bool     `json:"onDemand"`
}

type applyRequest struct {
	Group  string     `json:"group"`
	Put    []resource `json:"put"`
	Remove []struct {
		TypeURL string `json:"typeUrl"`
		Name    string `json:"name"`
	} `json:"remove"`
	Conditions []json.RawMessage `json:"conditions"`
	Synced     *bool             `json:"synced"`
}

type groupRequest struct {
	Group string `json:"group"`
}

// errUnsupported is answered for what a snapshot can't express.
var errUnsupported = errors.New("a snapshot can't express this")

func routes(target *target) http.Handler {
	mux := http.NewServeMux()
	handle(mux, "GetCapabilities", func(struct{}) (any, error) {
		return map[string]any{"groups": true, "features": features}, nil
	})
	handle(mux, "Apply", target.apply)
	handle(mux, "Clear", func(request groupRequest) (any, error) {
		target.mu.Lock()
		defer target.mu.Unlock()
		delete(target.groups, request.Group)
		target.cache.ClearSnapshot(request.Group)
		return struct{}{}, nil
	})
	handle(mux, "CountStreams", func(request groupRequest) (any, error) {
		target.mu.Lock()
		defer target.mu.Unlock()
		count := 0
		for _, node := range target.streams {
			if node == request.Group {
				count++
			}
		}
		return map[string]int{"streams": count}, nil
	})
	handle(mux, "Restart", func(struct{}) (any, error) {
		return struct{}{}, target.restart()
	})
	return mux
}

// handle serves one method.
func handle[Q any](mux *http.ServeMux, method string, answer func(Q) (any, error)) {
	mux.HandleFunc("POST "+service+method, func(w http.ResponseWriter, r *http.Request) {
		var request Q
		body, status := any(nil), http.StatusOK
		err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 256<<20)).Decode(&request)
		if err == nil {
			body, err = answer(request)
		}
		switch {
		case errors.Is(err, errUnsupported):
			status, body = http.StatusNotImplemented, failure("unimplemented", err)
		case err != nil:
			status, body = http.StatusBadRequest, failure("invalid_argument", err)
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(body)
	})
}

func failure(code string, err error) map[string]string {
	return map[string]string{"code": code, "message": err.Error()}
}

func (t *target) apply(request applyRequest) (any, error) {
	if len(request.Conditions) > 0 || request.Synced != nil {
		return nil, errUnsupported
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	after := group{}
	for key, told := range t.groups[request.Group] {
		after[key] = told
	}
	for _, gone := range request.Remove {
		delete(after, key{gone.TypeURL, gone.Name})
	}
	for _, resource := range request.Put {
		if resource.Version != nil || len(resource.Aliases) > 0 || resource.OnDemand {
			return nil, errUnsupported
		}
		told, err := read(resource)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", resource.Name, err)
		}
		after[key{resource.TypeURL, resource.Name}] = told
	}
	if err := t.publish(request.Group, after); err != nil {
		return nil, err
	}
	t.groups[request.Group] = after
	return struct{}{}, nil
}
