// Runs a Worker's Python in Pyodide: what `env.ANALYTICS` is given comes out as JSON. Arguments: the directories of
// Pyodide, of the installed packages and of this project's source, and the code.
const [, , home, packages, source, code] = process.argv;
const { loadPyodide } = await import(`${home}/pyodide.mjs`);
const python = await loadPyodide({ env: { OTEL_SERVICE_NAME: "edge" } });
for (const [name, root] of [["/packages", packages], ["/source", source]]) {
  python.FS.mkdirTree(name);
  python.FS.mount(python.FS.filesystems.NODEFS, { root }, name);
}
python.runPython("import sys; sys.path += ['/source', '/packages']");
const invocations = [];
const worker = python.runPython(code);
for (const method of ["GET", "POST"]) {
  const points = [];
  const ANALYTICS = {
    writeDataPoint: (point) => points.push(point.toJs({ dict_converter: Object.fromEntries })),
  };
  worker({ ANALYTICS }, { method });
  invocations.push(points);
}
process.stdout.write(JSON.stringify(invocations));
