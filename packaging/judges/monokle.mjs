// Pod Security and dangling references by Monokle, without its plugins that fetch something. Arguments: files.
// Prints a JSON object a line: {file, rule, resource, text}.
import { readFileSync } from "node:fs";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";

// The packages are in the working directory.
const load = (path) => import(pathToFileURL(resolve("node_modules", path)));
const { MonokleValidator, DisabledFixer, ResourceParser, SchemaLoader } = await load("@monokle/validation/lib/index.js");
const { DefaultPluginLoader } = await load("@monokle/validation/lib/pluginLoaders/PluginLoader.js");
const { processRefs } = await load("@monokle/validation/lib/references/process.js");
const { parseAllDocuments } = await load("yaml/dist/index.js").then((module) => module.default ?? module);

const plugins = { "pod-security-standards": true, "resource-links": true };
const clusterWide = new Set(["Namespace", "ClusterRole", "ClusterRoleBinding"]);

for (const file of process.argv.slice(2)) {
  const parser = new ResourceParser();
  const validator = new MonokleValidator(
    {
      loader: new DefaultPluginLoader(),
      parser,
      schemaLoader: new SchemaLoader(),
      suppressors: [],
      fixer: new DisabledFixer(),
    },
    { plugins, settings: { debug: true } },
  );
  // Those of `restricted` are off unless they are asked for.
  const rules = {};
  await validator.preload({ plugins, settings: { debug: true } });
  for (const [plugin, all] of Object.entries(validator.rules)) {
    for (const { name } of all) rules[`${plugin}/${name}`] = "err";
  }
  await validator.preload({ plugins, rules, settings: { debug: true } });
  if (validator.getPlugins().length !== 2) throw new Error("a plugin is missing");

  let offset = 0;
  const resources = [];
  const text = readFileSync(file, "utf8");
  for (const document of parseAllDocuments(text)) {
    const content = document.toJS();
    if (!content) continue;
    // With the file: what refers to what is remembered by id, also from one file to the next.
    const id = `${file}/${content.kind}/${content.metadata.name}`;
    resources.push({
      id,
      fileId: file,
      filePath: file,
      fileOffset: offset,
      fileNr: resources.length,
      name: content.metadata.name,
      kind: content.kind,
      apiVersion: content.apiVersion,
      namespace: clusterWide.has(content.kind) ? undefined : content.metadata.namespace,
      content,
      text: document.toString(),
    });
  }
  processRefs(resources, parser);
  const answer = await validator.validate({ resources });
  if (answer.runs.length === 0) throw new Error("nothing ran");
  for (const run of answer.runs) {
    for (const one of run.results) {
      const resource = one.locations[1].logicalLocations[0].fullyQualifiedName.split("@")[0];
      console.log(JSON.stringify({ file, rule: one.ruleId, resource, text: one.message.text }));
    }
  }
}
