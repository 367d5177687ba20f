// One dashboard as a page: its panels at their places, drawn from the frames that `prove grafana` kept.
import { createTheme, dateTime, type TimeRange } from '@grafana/data';
import { GlobalStyles, PanelChrome, PortalContainer } from '@grafana/ui';
import { ThemeContext } from '@grafana/data';
import { createRoot } from 'react-dom/client';

import { type Frames, type Panel, Drawing } from './panel';

const COLUMN = 58;
const ROW = 36;
const GAP = 8;

const theme = createTheme({ colors: { mode: 'light' } });

function Board({ panels, frames, range }: { panels: Panel[]; frames: Frames[]; range: TimeRange }) {
  const bottom = Math.max(...panels.map(({ gridPos }) => gridPos.y + gridPos.h)) * ROW;
  return (
    <div style={{ position: 'relative', width: 24 * COLUMN, height: bottom, background: theme.colors.background.canvas }}>
      {panels.map((panel) => {
        const { x, y, w, h } = panel.gridPos;
        const place = { position: 'absolute' as const, left: x * COLUMN, top: y * ROW };
        if (panel.type === 'row') {
          return <h5 key={panel.id} style={{ ...place, padding: '10px 4px', margin: 0 }}>{panel.title}</h5>;
        }
        const size = { width: w * COLUMN - GAP, height: h * ROW - GAP };
        return (
          <div key={panel.id} style={{ ...place, ...size }}>
            <PanelChrome title={panel.title} description={panel.description} {...size}>
              {(width, height) => (
                <Drawing panel={panel} frames={frames.filter((one) => one.panel === panel.id)} range={range} width={width} height={height} />
              )}
            </PanelChrome>
          </div>
        );
      })}
    </div>
  );
}

async function show() {
  const asked = new URLSearchParams(location.search);
  const [from, until] = [Number(asked.get('from')), Number(asked.get('until'))];
  const board = await (await fetch(`/dashboards/${asked.get('board')}.json`)).json();
  const all: Frames[] = await (await fetch('/frames.json')).json();
  const frames = all.filter((one) => one.board === asked.get('board'));
  const times = frames.flatMap((one) => one.series.flatMap((series) => series.samples.map(([time]) => time * 1000)));
  const [first, last] = [times.reduce((a, b) => Math.min(a, b)), times.reduce((a, b) => Math.max(a, b))];
  const range = { from: dateTime(first), to: dateTime(last), raw: { from: dateTime(first), to: dateTime(last) } };
  // A part of the board, by rows of its grid.
  const shown: Panel[] = board.panels.filter(({ gridPos }: Panel) => gridPos.y >= from && gridPos.y < until);
  const top = Math.min(...shown.map(({ gridPos }) => gridPos.y));
  const panels = shown.map((panel) => ({ ...panel, gridPos: { ...panel.gridPos, y: panel.gridPos.y - top } }));
  createRoot(document.getElementById('root')!).render(
    <ThemeContext.Provider value={theme}>
      <GlobalStyles />
      <Board panels={panels} frames={frames} range={range} />
      <PortalContainer />
    </ThemeContext.Provider>,
  );
}

show();
