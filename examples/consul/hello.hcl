service {
  name    = "hello"
  address = "127.0.0.1"
  port    = 9000
  tags    = ["http", "version=v1"]
  check {
    id       = "answers"
    http     = "http://127.0.0.1:9000/"
    interval = "1s"
    timeout  = "1s"
  }
}
