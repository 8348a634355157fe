// Reads a JSON array of LogQL expressions; prints the positions of grammar errors and the stream matchers of each.
import { readFileSync } from "node:fs";
import { parser } from "@grafana/lezer-logql";

const parsed = JSON.parse(readFileSync(0, "utf8")).map((expression) => {
  const errors = [];
  const matchers = [];
  parser.parse(expression).iterate({
    enter(ref) {
      if (ref.type.isError) errors.push(ref.from);
      if (ref.name !== "Matcher" || ref.node.parent.name !== "Matchers") return;
      const [label, operator, value] = ["firstChild", "firstChild", "lastChild"].map((part) => ref.node[part]);
      const text = (node) => expression.slice(node.from, node.to);
      matchers.push([text(label), text(operator.nextSibling), text(value).slice(1, -1)]);
    },
  });
  return { errors, matchers };
});
process.stdout.write(JSON.stringify(parsed));
