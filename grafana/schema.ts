// What a dashboard of ours may hold, from Grafana's published schema: that one leaves open what a panel's plugin takes, and
// says enums where JSON has their text.
import type { AnnotationQuery, Dashboard, DataQuery, DataSourceRef, Panel, RowPanel } from '@grafana/schema';
import type * as Stat from '@grafana/schema/dist/esm/raw/composable/stat/panelcfg/x/StatPanelCfg_types.gen';
import type * as StateTimeline from '@grafana/schema/dist/esm/raw/composable/statetimeline/panelcfg/x/StateTimelinePanelCfg_types.gen';
import type * as Table from '@grafana/schema/dist/esm/raw/composable/table/panelcfg/x/TablePanelCfg_types.gen';
import type * as TimeSeries from '@grafana/schema/dist/esm/raw/composable/timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen';

// An enum's values as text; what is open stays so.
type Json<T> = 0 extends 1 & T ? T
  : T extends string ? `${T}`
  : T extends Array<infer Item> ? Array<Json<Item>>
  : T extends object ? { [Key in keyof T]: Json<T[Key]> }
  : T;

// As the Prometheus data source has it.
interface Query extends DataQuery {
  datasource: DataSourceRef;
  expr: string;
  legendFormat: string;
  instant: boolean;
  range: boolean;
  format?: 'table';
  editorMode: 'code';
}
interface Annotation extends Omit<AnnotationQuery, 'target'> {
  target?: { refId: string; expr: string; interval: string };
  titleFormat?: string;
  textFormat?: string;
  useValueForTime?: 'on' | 'off';
}

type Field = NonNullable<Panel['fieldConfig']>;
type Of<Type extends string, Options, Custom> = Omit<Panel, 'type' | 'title' | 'description' | 'targets' | 'options' | 'fieldConfig'> & {
  type: Type;
  title: string;
  description: string;
  targets: Query[];
  options: Partial<Options>;
  fieldConfig: Omit<Field, 'defaults'> & { defaults: Omit<Field['defaults'], 'custom'> & { unit: string; custom?: Partial<Custom> } };
};
type Known =
  | Of<'stat', Stat.Options, never>
  | Of<'timeseries', TimeSeries.Options, TimeSeries.FieldConfig>
  | Of<'state-timeline', StateTimeline.Options, StateTimeline.FieldConfig>
  | Of<'table', Table.Options, Table.FieldConfig & { filterable: boolean }>
  | RowPanel;

export type Board = Json<Omit<Dashboard, 'panels' | 'annotations'> & { uid: string; panels: Known[]; annotations: { list: Annotation[] } }>;
