# Tasks are plain processes.
plugin "raw_exec" {
  config {
    enabled = true
  }
}
# It doesn't look for a cloud around it, which takes its time.
client {
  options = {
    "fingerprint.denylist" = "env_aws,env_gce,env_azure,env_digitalocean"
  }
}
