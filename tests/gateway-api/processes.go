package gatewayapi

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// process is a child with its output.
type process struct {
	command *exec.Cmd
	output  *buffer
}

// buffer keeps what a process writes.
type buffer struct {
	sync.Mutex
	bytes.Buffer
}

func (b *buffer) Write(data []byte) (int, error) {
	b.Lock()
	defer b.Unlock()
	return b.Buffer.Write(data)
}

func (b *buffer) text() string {
	b.Lock()
	defer b.Unlock()
	return b.String()
}

func (p *process) stop() {
	if p.command.Process != nil {
		_ = syscall.Kill(-p.command.Process.Pid, syscall.SIGKILL)
		_ = p.command.Wait()
	}
}

func started(place *room, environment []string, name string, arguments ...string) (*process, error) {
	command := exec.Command(name, arguments...)
	output := &buffer{}
	command.Stdout, command.Stderr = output, output
	command.Env = append(os.Environ(), environment...)
	if place == nil {
		command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		return &process{command, output}, command.Start()
	}
	return &process{command, output}, place.start(command)
}

// binaries that the script built or fetched.
func binary(variable string) string {
	path := os.Getenv(variable)
	if path == "" {
		panic(variable + " is not set; run tools/gateway-api-suite.sh")
	}
	return path
}

// control is `lateen serve` on a folder, beside which it listens on a Unix socket: rooms share files, not loopback.
type control struct {
	process *process
	socket  string
}

func startControl(t *testing.T, folder string) *control {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "xds")
	server, err := started(nil, nil, binary("LATEEN_BIN"), "serve", "--adapter", "file="+folder,
		"--xds-listen", "unix:"+socket, "--admin-listen", "127.0.0.1:15014")
	if err != nil {
		t.Fatalf("start lateen: %v", err)
	}
	made := &control{server, socket}
	until(t, "lateen serve", func() bool {
		response, err := http.Get("http://127.0.0.1:15014/ready")
		if err != nil {
			return false
		}
		_ = response.Body.Close()
		return response.StatusCode == http.StatusOK
	}, server.output.text)
	return made
}

// startEnvoy starts a stock Envoy in a room, as the node that these flags of `lateen bootstrap` describe.
func (c *control) startEnvoy(place *room, folder string, node ...string) (*process, error) {
	flags := append([]string{"bootstrap", "--xds", "unix:" + c.socket, "--admin", "127.0.0.1:15000", "--ip", place.address}, node...)
	text, err := exec.Command(binary("LATEEN_BIN"), flags...).Output()
	if err != nil {
		return nil, fmt.Errorf("lateen bootstrap: %w", err)
	}
	file := filepath.Join(folder, fmt.Sprintf("envoy-%s.json", place.address))
	if err := os.WriteFile(file, text, 0o600); err != nil {
		return nil, err
	}
	return started(place, nil, binary("LATEEN_ENVOY"), "-c", file, "--disable-hot-restart", "--concurrency", "1", "--log-level", "warning")
}

// until waits for something that a process is to do.
func until(t *testing.T, what string, holds func() bool, log func() string) {
	t.Helper()
	for range 400 {
		if holds() {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	lines := strings.Split(strings.TrimSpace(log()), "\n")
	t.Fatalf("%s does not start:\n%s", what, strings.Join(lines[max(0, len(lines)-20):], "\n"))
}
