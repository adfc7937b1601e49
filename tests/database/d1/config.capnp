using Workerd = import "/workerd/workerd.capnp";

const config :Workerd.Config = (
  services = [
    (name = "disk", disk = (path = ".", writable = true)),
    (name = "main", worker = .main),
  ],
  sockets = [(name = "http", address = "127.0.0.1:0", http = (), service = "main")],
);

const main :Workerd.Worker = (
  modules = [(name = "shim.js", esModule = embed "shim.js")],
  compatibilityDate = "2025-06-01",
  bindings = [(name = "DB", durableObjectNamespace = "Db")],
  durableObjectNamespaces = [(className = "Db", uniqueKey = "d1", enableSql = true)],
  durableObjectStorage = (localDisk = "disk"),
);
