// What stands inside a panel. Grafana's own state timeline is not among its published components: it is drawn as steps.
import {
  createTheme, type DataFrame, FieldType, getDisplayProcessor, type TimeRange, toDataFrame,
} from '@grafana/data';
import { BigValue, type BigValueColorMode, BigValueGraphMode, BigValueJustifyMode, BigValueTextMode, TimeSeries } from '@grafana/ui';
import { TableNG } from '@grafana/ui/unstable';

export interface Frames {
  board: string;
  panel: number;
  legend: string;
  series: Array<{ labels: Record<string, string>; samples: Array<[number, number]> }>;
}

export interface Panel {
  id: number;
  type: string;
  title: string;
  description?: string;
  gridPos: { x: number; y: number; w: number; h: number };
  fieldConfig: { defaults: any; overrides: any[] };
  options: any;
  transformations?: any[];
}

interface Props {
  panel: Panel;
  frames: Frames[];
  range: TimeRange;
  width: number;
  height: number;
}

const theme = createTheme({ colors: { mode: 'light' } });

/** The legend's text with the series' labels filled in. */
const named = (legend: string, labels: Record<string, string>) => legend.replace(/\{\{(\w+)\}\}/g, (_, label) => labels[label] ?? '');

/** A gap in the samples is a gap in the line. */
function spaced(samples: Array<[number, number]>): Array<[number, number | null]> {
  return samples.flatMap(([time, value], at) =>
    at > 0 && time - samples[at - 1][0] > 2 ? [[time - 1, null] as [number, null], [time, value]] : [[time, value]]);
}

function lines({ panel, frames }: Props): DataFrame[] {
  const { defaults } = panel.fieldConfig;
  const states = panel.type === 'state-timeline';
  const custom = states
    ? { drawStyle: 'line', lineInterpolation: 'stepAfter', lineWidth: 2, fillOpacity: 10, showPoints: 'never' }
    : defaults.custom;
  const all = frames.flatMap(({ legend, series }) => series.map((one) => ({ legend, ...one }))).filter(({ samples }) => samples.length > 0);
  return all.map(({ legend, labels, samples }, index) => {
    const points = spaced(samples);
    const frame = toDataFrame({
      fields: [
        { name: 'Time', type: FieldType.time, values: points.map(([time]) => time * 1000) },
        {
          name: 'Value', type: FieldType.number, values: points.map(([, value]) => value),
          config: { ...defaults, color: { mode: 'palette-classic' }, custom, displayNameFromDS: named(legend, labels) },
        },
      ],
    });
    const [, value] = frame.fields;
    value.state = { seriesIndex: index, displayName: named(legend, labels) };
    value.display = getDisplayProcessor({ field: value, theme });
    return frame;
  });
}

function Lines(props: Props) {
  const { range, width, height, panel } = props;
  const frames = lines(props);
  const legend = { showLegend: frames.length <= 12, displayMode: 'list', placement: 'bottom', calcs: [] } as any;
  return (
    <TimeSeries frames={frames} structureRev={1} timeRange={range} timeZone="utc" width={width} height={height} legend={legend}
      options={panel.options} replaceVariables={(text: string) => text} {...({} as any)} />
  );
}

function Stat({ panel, frames, width, height }: Props) {
  // An instant query: what has ended before is not in it.
  const end = Math.max(...frames.flatMap(({ series }) => series.flatMap(({ samples }) => samples.slice(-1).map(([time]) => time))));
  const last = frames.flatMap(({ legend, series }) => series.flatMap(({ labels, samples }) =>
    samples.slice(-1).filter(([time]) => time === end).map(([, value]) => ({ name: named(legend, labels), value }))));
  const show = getDisplayProcessor({ field: { type: FieldType.number, config: panel.fieldConfig.defaults }, theme });
  return (
    <div style={{ display: 'flex' }}>
      {last.map(({ name, value }) => (
        <BigValue key={name} value={panel.options.textMode === 'name' ? { ...show(value), text: name, suffix: '' } : show(value)}
          width={width / last.length} height={height} theme={theme} colorMode={panel.options.colorMode as BigValueColorMode}
          graphMode={BigValueGraphMode.None} justifyMode={BigValueJustifyMode.Center} textMode={BigValueTextMode.Value} />
      ))}
    </div>
  );
}

/** Merged by what the lines have in common, named and ordered as the panel's transformation says. */
function table({ panel, frames }: Props): DataFrame {
  const organize = panel.transformations?.find(({ id }) => id === 'organize')?.options ?? {};
  const { excludeByName = {}, renameByName = {}, indexByName = {} } = organize;
  const hidden = new Set(panel.fieldConfig.overrides
    .filter(({ properties }) => properties.some(({ id, value }: any) => id === 'custom.hidden' && value)).map(({ matcher }) => matcher.options));
  const keys = [...new Set(frames.flatMap(({ series }) => series.flatMap(({ labels }) => Object.keys(labels))))];
  const known = keys.filter((key) => !excludeByName[key] && key !== '__name__');
  const rows = new Map<string, Record<string, unknown>>();
  frames.forEach(({ series }, number) => series.forEach(({ labels, samples }) => {
    const id = labels.id ?? labels.member ?? `${labels.group} ${labels.instance}`;
    const value = samples.at(-1)?.[1];
    if (value !== undefined) {
      rows.set(id, { ...rows.get(id), ...labels, [`Value #${'ABCDEFGH'[number]}`]: value });
    }
  }));
  const names = [...known, ...frames.map((_, number) => `Value #${'ABCDEFGH'[number]}`)]
    .filter((name) => !hidden.has(name)).sort((a, b) => (indexByName[a] ?? 99) - (indexByName[b] ?? 99));
  const all = [...rows.values()].sort((a, b) => String(a.member ?? a.group).localeCompare(String(b.member ?? b.group)));
  return toDataFrame({
    fields: names.map((name) => {
      const shown = renameByName[name] ?? name;
      const type = name.startsWith('Value #') ? FieldType.number : FieldType.string;
      const config = overridden(panel, shown);
      return { name: shown, type, config, values: all.map((row) => row[name] ?? null), display: getDisplayProcessor({ field: { type, config }, theme }) };
    }),
  });
}

/** The panel's defaults, and what its overrides say of this field. */
function overridden({ fieldConfig }: Panel, name: string) {
  const config = { ...fieldConfig.defaults, custom: { ...fieldConfig.defaults.custom } };
  for (const { properties } of fieldConfig.overrides.filter(({ matcher }) => matcher.options === name)) {
    for (const { id, value } of properties.filter(({ id }: { id: string }) => id !== 'links')) {
      if (id.startsWith('custom.')) {
        config.custom[id.slice('custom.'.length)] = value;
      } else {
        config[id] = value;
      }
    }
  }
  return config;
}

export function Drawing(props: Props) {
  switch (props.panel.type) {
    case 'stat':
      return <Stat {...props} />;
    case 'table':
      return <TableNG data={table(props)} width={props.width} height={props.height} enableVirtualization={false} />;
    default:
      return <Lines {...props} />;
  }
}
