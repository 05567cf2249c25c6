// grpc-go as a client that finds its servers through xDS; the lines it reads and writes are those of ../client.py.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	_ "google.golang.org/grpc/xds"
)

// raw passes messages through as they are on the wire.
type raw struct{}

func (raw) Name() string                    { return "proto" }
func (raw) Marshal(v any) ([]byte, error)   { return *v.(*[]byte), nil }
func (raw) Unmarshal(b []byte, v any) error { *v.(*[]byte) = append([]byte(nil), b...); return nil }

type question struct {
	Message string            `json:"message"`
	Headers map[string]string `json:"headers"`
}

func main() {
	target, method := os.Args[1], os.Args[2]
	connection, err := grpc.NewClient(target, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.ForceCodec(raw{}), grpc.WaitForReady(true)))
	if err != nil {
		log.Fatal(err)
	}
	defer connection.Close()
	answers := json.NewEncoder(os.Stdout)
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var asked question
		if err := json.Unmarshal(lines.Bytes(), &asked); err != nil {
			log.Fatal(err)
		}
		if err := answers.Encode(call(connection, method, asked)); err != nil {
			log.Fatal(err)
		}
	}
}

func call(connection *grpc.ClientConn, method string, asked question) map[string]string {
	timed, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	request, reply := []byte(asked.Message), []byte{}
	timed = metadata.NewOutgoingContext(timed, metadata.New(asked.Headers))
	if err := connection.Invoke(timed, method, &request, &reply); err != nil {
		failed := status.Convert(err)
		return map[string]string{"error": fmt.Sprintf("%s: %s", failed.Code(), failed.Message())}
	}
	return map[string]string{"ok": string(reply)}
}
