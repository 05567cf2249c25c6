package gatewayapi

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// clientMark marks connections of a pod's client: they are sent through its sidecar, as the rules of a mesh's init
// container would do. Connections of the sidecar itself are not marked.
const clientMark = 1

// room is a network namespace with one address, as a pod has: servers in it listen on whatever ports they like.
// All rooms are routed through the namespace that the runner itself is in.
type room struct {
	address string
	ns      *os.File
}

var rooms struct {
	sync.Mutex
	made int
}

// newRoom makes a namespace and connects it.
func newRoom() (*room, error) {
	rooms.Lock()
	defer rooms.Unlock()
	rooms.made++
	number := rooms.made
	base := fmt.Sprintf("172.16.%d", number/64)
	low := number % 64 * 4
	outer, inner := fmt.Sprintf("%s.%d", base, low+1), fmt.Sprintf("%s.%d", base, low+2)
	ns, err := emptyNamespace()
	if err != nil {
		return nil, err
	}
	name := fmt.Sprintf("room%d", number)
	attributes := netlink.NewLinkAttrs()
	attributes.Name = name
	pair := &netlink.Veth{LinkAttrs: attributes, PeerName: "up", PeerNamespace: netlink.NsFd(int(ns.Fd()))}
	if err := netlink.LinkAdd(pair); err != nil {
		return nil, fmt.Errorf("add %s: %w", name, err)
	}
	if err := raise(name, outer); err != nil {
		return nil, err
	}
	made := &room{address: inner, ns: ns}
	return made, made.inside(func() error {
		if err := raise("lo", ""); err != nil {
			return err
		}
		if err := raise("up", inner); err != nil {
			return err
		}
		return netlink.RouteAdd(&netlink.Route{Gw: net.ParseIP(outer)})
	})
}

func emptyNamespace() (*os.File, error) {
	var ns *os.File
	err := apart(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("unshare: %w", err)
		}
		var err error
		ns, err = os.Open("/proc/thread-self/ns/net")
		return err
	})
	return ns, err
}

func raise(name, address string) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if address != "" {
		parsed, err := netlink.ParseAddr(address + "/30")
		if err != nil {
			return err
		}
		if err := netlink.AddrAdd(link, parsed); err != nil {
			return fmt.Errorf("%s on %s: %w", address, name, err)
		}
	}
	return netlink.LinkSetUp(link)
}

// apart runs f on a thread that ends with it, so that nothing else is ever in its namespace.
func apart(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		done <- f()
	}()
	return <-done
}

// inside runs f in the room. What f starts or opens belongs to the room.
func (r *room) inside(f func() error) error {
	return apart(func() error {
		if err := unix.Setns(int(r.ns.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("setns: %w", err)
		}
		return f()
	})
}

// dial connects from inside of the room, through the room's sidecar if it has one.
func (r *room) dial(_ context.Context, network, address string) (net.Conn, error) {
	var connection net.Conn
	err := r.inside(func() error {
		mark := func(_, _ string, raw syscall.RawConn) error {
			var failed error
			if err := raw.Control(func(fd uintptr) {
				failed = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MARK, clientMark)
			}); err != nil {
				return err
			}
			return failed
		}
		// One address: the dialer stays on this thread.
		dialer := net.Dialer{Timeout: 5 * time.Second, Control: mark}
		var err error
		connection, err = dialer.DialContext(context.Background(), network, address)
		return err
	})
	return connection, err
}

// listen listens inside of the room.
func (r *room) listen(port int) (net.Listener, error) {
	var listener net.Listener
	err := r.inside(func() error {
		var err error
		listener, err = net.Listen("tcp4", fmt.Sprintf("0.0.0.0:%d", port))
		return err
	})
	return listener, err
}

// start starts a process inside of the room; it ends with the runner.
func (r *room) start(command *exec.Cmd) error {
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return r.inside(command.Start)
}

// redirect sends marked connections to a port of the room, as `iptables -t nat -A OUTPUT … -j REDIRECT` would.
func (r *room) redirect(port uint16) error {
	return r.inside(func() error {
		rules := &nftables.Conn{}
		table := rules.AddTable(&nftables.Table{Family: nftables.TableFamilyIPv4, Name: "sidecar"})
		chain := rules.AddChain(&nftables.Chain{
			Name: "output", Table: table, Type: nftables.ChainTypeNAT,
			Hooknum: nftables.ChainHookOutput, Priority: nftables.ChainPriorityNATDest,
		})
		rules.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: []expr.Any{
			&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.IPPROTO_TCP}},
			&expr.Meta{Key: expr.MetaKeyMARK, Register: 1},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binaryutil.NativeEndian.PutUint32(clientMark)},
			&expr.Immediate{Register: 1, Data: binaryutil.BigEndian.PutUint16(port)},
			&expr.Redir{RegisterProtoMin: 1},
		}})
		return rules.Flush()
	})
}
