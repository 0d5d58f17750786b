// Objects of controllers, by the schemas of their CustomResourceDefinitions (@kubernetes-models). Argument: a file with a JSON
// array of objects. Prints a JSON object a line, for each thing that is not right: {object, text}.
import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";

const packages = {
  "monitoring.coreos.com": "prometheus-operator",
  "cert-manager.io": "cert-manager",
  "external-secrets.io": "external-secrets",
  "keda.sh": "keda",
  "gateway.networking.k8s.io": "gateway-api",
};

// The schemas let fields through that they do not know; the API server drops these, or refuses them. A field that is
// known is read by the schema's code, so what nobody read of an object that was looked into is unknown. Maps, whose keys are
// anybody's, are gone through as a whole.
function watched(value, path, unknown) {
  if (value === null || typeof value !== "object") return value;
  if (Array.isArray(value)) return value.map((one, place) => watched(one, `${path}/${place}`, unknown));
  const inside = {};
  for (const key of Object.keys(value)) inside[key] = watched(value[key], `${path}/${key}`, unknown);
  const read = new Set();
  let whole = false;
  unknown.push(() =>
    whole || read.size === 0 ? [] : Object.keys(value).filter((key) => !read.has(key)).map((key) => `${path}/${key}`),
  );
  return new Proxy(inside, {
    get: (target, key) => (typeof key === "string" && read.add(key), target[key]),
    ownKeys: (target) => ((whole = true), Reflect.ownKeys(target)),
  });
}

for (const object of JSON.parse(readFileSync(process.argv[2], "utf8"))) {
  const [group, version] = object.apiVersion.split("/");
  const found = [];
  if (!packages[group]) {
    found.push(`no schema for ${object.apiVersion}`);
  } else {
    const path = `node_modules/@kubernetes-models/${packages[group]}/${group}/${version}/${object.kind}.js`;
    try {
      const model = await import(pathToFileURL(resolve(path)));
      const unknown = [];
      const checked = new model[object.kind](object);
      // Afterwards: a model copies what it is made of.
      checked.spec = watched(object.spec, "/spec", unknown);
      checked.validate();
      for (const look of unknown) found.push(...look().map((field) => `unknown field ${field}`));
    } catch (error) {
      found.push(error.message);
    }
  }
  for (const text of found) console.log(JSON.stringify({ object: `${object.kind}/${object.metadata.name}`, text }));
}
