job "hello" {
  group "web" {
    count = 2
    network {
      port "http" {}
    }
    service {
      name     = "hello"
      provider = "nomad"
      port     = "http"
      tags     = ["version=v1"]
    }
    task "server" {
      driver = "raw_exec"
      config {
        command = "/bin/sh"
        args    = ["-c", "exec python3 -m http.server ${NOMAD_PORT_http}"]
      }
    }
  }
}
