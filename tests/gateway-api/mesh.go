package gatewayapi

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc"
	pb "sigs.k8s.io/gateway-api/conformance/echo-basic/grpcechoserver"
)

// serveMeshEcho answers what the suite's client for the mesh reads: one line `NAME=VALUE` each.
func serveMeshEcho(of *pod) error {
	calls, err := of.room.listen(7070)
	if err != nil {
		return err
	}
	grpcServer := grpc.NewServer()
	pb.RegisterGrpcEchoServer(grpcServer, &grpcEcho{of: of})
	go func() { _ = grpcServer.Serve(calls) }()
	listener, err := of.room.listen(8080)
	if err != nil {
		return err
	}
	server := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(to http.ResponseWriter, request *http.Request) {
		lines := []string{
			"ServiceVersion=" + of.object.Labels["version"], "ServicePort=8080", "Host=" + request.Host,
			"URL=" + request.URL.RequestURI(), "Method=" + request.Method, "Proto=" + request.Proto,
			"Hostname=" + of.object.Name,
		}
		_, _ = io.WriteString(to, strings.Join(append(lines, headerLines("RequestHeader", request.Header)...), "\n")+"\n")
	})}
	go func() { _ = server.Serve(listener) }()
	return nil
}

func headerLines(name string, headers http.Header) []string {
	var lines []string
	for _, header := range slices.Sorted(maps.Keys(headers)) {
		// Values in their order.
		for _, value := range headers[header] {
			lines = append(lines, fmt.Sprintf("%s=%s:%s", name, header, value))
		}
	}
	return lines
}

// call does what the echo client in a pod does with the same arguments, and prints what that prints:
// `client URL --method=M -H NAME:VALUE --count=N`.
func (c *cluster) call(from *pod, arguments []string) (string, error) {
	if len(arguments) < 2 || arguments[0] != "client" {
		return "", fmt.Errorf("unknown command %q", arguments)
	}
	target, err := url.Parse(arguments[1])
	if err != nil {
		return "", err
	}
	method, headers, count := http.MethodGet, http.Header{}, 1
	for index := 2; index < len(arguments); index++ {
		switch flag := arguments[index]; {
		case strings.HasPrefix(flag, "--method="):
			method = strings.TrimPrefix(flag, "--method=")
		case strings.HasPrefix(flag, "--count="):
			if _, err := fmt.Sscanf(flag, "--count=%d", &count); err != nil {
				return "", err
			}
		case flag == "-H" && index+1 < len(arguments):
			index++
			name, value, _ := strings.Cut(arguments[index], ":")
			headers.Add(name, value)
		default:
			return "", fmt.Errorf("unknown flag %q", flag)
		}
	}
	if target.Scheme == "grpc" {
		return c.callGRPC(from, target, headers, count)
	}
	dial := func(ctx context.Context, network, address string) (net.Conn, error) {
		resolved, err := c.resolve(from, address)
		if err != nil {
			return nil, err
		}
		return from.room.dial(ctx, network, resolved)
	}
	caller := &http.Client{
		Timeout:       10 * time.Second,
		Transport:     &http.Transport{DialContext: dial, DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return repeated(count, func() (string, error) { return callOnce(caller, method, target, headers) })
}

func repeated(count int, once func() (string, error)) (string, error) {
	var all []string
	for range count {
		text, err := once()
		if err != nil {
			return "", err
		}
		all = append(all, text)
	}
	return strings.Join(all, "\n\n"), nil
}

func callOnce(caller *http.Client, method string, target *url.URL, headers http.Header) (string, error) {
	request, err := http.NewRequest(method, target.String(), nil)
	if err != nil {
		return "", err
	}
	request.Header = headers.Clone()
	if host := headers.Get("Host"); host != "" {
		request.Host = host
	}
	response, err := caller.Do(request)
	if err != nil {
		return "", err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return "", err
	}
	lines := append([]string{fmt.Sprintf("StatusCode=%d", response.StatusCode)}, headerLines("ResponseHeader", response.Header)...)
	return strings.Join(append(lines, strings.TrimSpace(string(body))), "\n"), nil
}

// resolve looks a name up as the DNS of a cluster does, from a pod's namespace.
func (c *cluster) resolve(from *pod, address string) (string, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil || net.ParseIP(host) != nil {
		return address, err
	}
	parts := strings.Split(host, ".")
	name, namespace := parts[0], from.object.Namespace
	if len(parts) > 1 {
		namespace = parts[1]
	}
	c.lock.Lock()
	defer c.lock.Unlock()
	for key, address := range c.services {
		if key.Name == name && key.Namespace == namespace {
			return net.JoinHostPort(address, port), nil
		}
	}
	return "", fmt.Errorf("no such host: %s", host)
}
