// Reads [{fields: [{name, type, values}], fieldConfig}] as JSON; prints for each the columns with the text and the
// colour of every value, and the addresses of its links, as Grafana's own data package shows them.

// What the package expects of a browser when it is loaded.
globalThis.window = { addEventListener() {}, location: { search: "" } };
globalThis.document = {};
globalThis.localStorage = { getItem: () => null };
Object.defineProperty(globalThis, "navigator", { value: { language: "en-GB", languages: ["en-GB"] } });

const grafana = require("@grafana/data");
const { readFileSync } = require("node:fs");

const same = (value) => value;
// Grafana's pages register the options with editors; here their values alone are applied.
const options = ["unit", "decimals", "min", "max", "displayName", "noValue", "thresholds", "mappings", "color", "links"];
const registry = new grafana.Registry(() =>
  options.map((id) => ({ id, path: id, name: id, process: same, shouldApply: () => true })),
);
const theme = grafana.createTheme();

const shown = JSON.parse(readFileSync(0, "utf8")).map(({ fields, fieldConfig }) => {
  const frame = grafana.toDataFrame({ fields });
  const [done] = grafana.applyFieldOverrides({
    data: [frame],
    fieldConfig,
    replaceVariables: same,
    theme,
    timeZone: "utc",
    fieldConfigRegistry: registry,
  });
  return Object.fromEntries(
    done.fields.map((field) => [
      field.name,
      {
        texts: field.values.map((value) => grafana.formattedValueToString(field.display(value))),
        colors: field.values.map((value) => field.display(value).color),
        links: (field.config.links ?? []).map((link) => link.url),
      },
    ]),
  );
});
process.stdout.write(JSON.stringify({ shown, palette: theme.visualization.getColorByName("red") }));
