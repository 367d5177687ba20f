// Prints what the dashboards ask as recording rules, one for each expression, so that promtool parses them.
import { readFileSync } from 'node:fs';

// Any value will do that may stand where Grafana puts one.
const variables = [
  [/\$__rate_interval|\$__range|\$__interval/g, '5m'],
  [/\$\{?\w+\}?/g, '.*'],
];
const filled = (expr) => variables.reduce((text, [name, value]) => text.replace(name, value), expr);

const rules = process.argv.slice(2).flatMap((path) => {
  const board = JSON.parse(readFileSync(path, 'utf8'));
  const asked = [...board.panels.flatMap((panel) => panel.targets ?? []), ...board.annotations.list.map((one) => one.target ?? {})];
  return asked.filter((one) => one.expr).map((one) => filled(one.expr));
});
// Equal ones are asked twice, and promtool warns of them.
const unique = [...new Set(rules)];
const named = unique.map((expr, number) => ({ record: `panel:${number}`, expr }));
// JSON is YAML, too.
console.log(JSON.stringify({ groups: [{ name: 'panels', rules: named }] }, null, 1));
