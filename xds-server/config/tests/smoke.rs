use std::sync::Arc;
#[test]
fn smoke() {
    let text = br#"
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec:
  hosts: [reviews]
  htpp: []
  http:
  - match:
    - uri: {prefix: /a}
    route:
    - destination:
        hostt: reviews
      weight: "90"
    timeout: 5
    retries:
      attempts: x
---
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data:
  mesh: |
    accessLogFile: /dev/stdout
    enableTracng: true
---
apiVersion: v1
kind: Service
metadata: {name: reviews}
spec:
	ports: []
---
apiVersion: v1
kind: Service
metadata: {name: ratings}
spec:
  selector: {app: ratings}
  ports: [{port: 80, name: http, targetPort: web}]
"#;
    let p = lateen_config::parse(text, &Arc::from("file"), &Arc::from("a.yaml"));
    for d in &p.diagnostics { println!("{d}"); }
    for i in &p.invalid { println!("invalid {:?}", i.key); }
    println!("{:#?}", p.objects);
}
