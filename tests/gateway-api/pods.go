package gatewayapi

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// pod is a back end of the suite, in a room of its own.
type pod struct {
	object *corev1.Pod
	room   *room
	// Back ends of gateways are the suite's own server; those of the mesh are in this process.
	server *process
}

func (p *pod) has(selector map[string]string) bool {
	for name, value := range selector {
		if p.object.Labels[name] != value {
			return false
		}
	}
	return true
}

// log is what the back end has written.
func (p *pod) log() string {
	if p.server == nil {
		return ""
	}
	return p.server.output.text()
}

// startPod starts what the image of a pod stands for.
func (c *cluster) startPod(key types.NamespacedName, template *corev1.PodTemplateSpec) (*pod, error) {
	room, err := newRoom()
	if err != nil {
		return nil, err
	}
	made := &pod{room: room, object: &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: key.Name, Namespace: key.Namespace, Labels: template.Labels},
		Spec:       template.Spec,
		Status: corev1.PodStatus{
			Phase: corev1.PodRunning, PodIP: room.address, PodIPs: []corev1.PodIP{{IP: room.address}},
			Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}},
		},
	}}
	container := template.Spec.Containers[0]
	switch {
	case strings.Contains(container.Image, "/echo-basic:"):
		environment := []string{"POD_NAME=" + key.Name, "NAMESPACE=" + key.Namespace}
		for _, variable := range container.Env {
			if variable.ValueFrom == nil && !strings.HasPrefix(variable.Name, "TLS_") {
				environment = append(environment, variable.Name+"="+variable.Value)
			}
		}
		made.server, err = started(room, environment, binary("SUITE_ECHO"))
		return made, err
	case strings.Contains(container.Image, "/echo-advanced:"):
		return made, c.startMeshPod(made)
	default:
		return made, nil
	}
}

// startMeshPod starts the echo server of a mesh's pod, and its sidecar.
func (c *cluster) startMeshPod(made *pod) error {
	if err := serveMeshEcho(made); err != nil {
		return err
	}
	if err := made.room.redirect(15001); err != nil {
		return fmt.Errorf("redirect: %w", err)
	}
	flags := []string{"--name", made.object.Name, "--namespace", made.object.Namespace}
	for name, value := range made.object.Labels {
		flags = append(flags, "--label", name+"="+value)
	}
	sidecar, err := c.control.startEnvoy(made.room, c.scratch, flags...)
	if err == nil {
		c.sidecars = append(c.sidecars, sidecar)
	}
	return err
}

// stop ends everything, and keeps the logs of Envoys and of the control plane.
func (c *cluster) stop(logs string) {
	c.lock.Lock()
	defer c.lock.Unlock()
	keep := func(name string, process *process) {
		process.stop()
		_ = os.WriteFile(filepath.Join(logs, name+".log"), []byte(process.output.text()), 0o600)
	}
	for key, gateway := range c.gateways {
		keep("gateway-"+key.Name, gateway.process)
	}
	for index, sidecar := range c.sidecars {
		keep(fmt.Sprintf("sidecar-%d", index), sidecar)
	}
	for _, pod := range c.pods {
		if pod.server != nil {
			pod.server.stop()
		}
	}
	keep("lateen", c.control.process)
}

func eachItem(list client.ObjectList, f func(client.Object) error) error {
	items, err := meta.ExtractList(list)
	if err != nil {
		return err
	}
	for _, item := range items {
		if err := f(item.(client.Object)); err != nil {
			return err
		}
	}
	return nil
}
