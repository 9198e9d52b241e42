"""How the report looks: light or dark as the reader's system is, narrow screens and paper included."""

STYLE = """
:root {
  color-scheme: light dark;
  --ground: #ffffff; --panel: #f6f7f9; --line: #dfe3e8; --text: #1c2430; --faint: #5d6877;
  --train: #2a6fc4; --valid: #c9541f; --good: #1a7f4b; --bad: #b92d2d; --warn: #8f6200; --warn-ground: #fff6df;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ground: #14181f; --panel: #1c222b; --line: #323b48; --text: #e4e9f0; --faint: #9aa6b5;
    --train: #6aa9f4; --valid: #f0935f; --good: #5cc58e; --bad: #f08080; --warn: #e6bb5c; --warn-ground: #2b2619;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--ground); color: var(--text);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
}
main { max-width: 1040px; margin: 0 auto; padding: 32px 20px 64px; }
h1 { font-size: 26px; line-height: 1.25; margin: 0 0 4px; overflow-wrap: anywhere; }
h2 { font-size: 18px; margin: 40px 0 12px; }
.under { color: var(--faint); margin: 0 0 20px; overflow-wrap: anywhere; }
.state { font-weight: 600; }
.completed, .running { color: var(--good); }
.failed, .killed { color: var(--bad); }
.stopped, .interrupted, .unknown { color: var(--warn); }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(140px, 1fr)); gap: 10px; }
.tile { background: var(--panel); border: 1px solid var(--line); border-radius: 8px; padding: 10px 14px; }
.tile b { display: block; font-size: 19px; font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
.tile span { color: var(--faint); font-size: 13px; }
.warning { background: var(--warn-ground); border-left: 3px solid var(--warn); padding: 8px 14px; margin: 8px 0;
  overflow-wrap: anywhere; white-space: pre-wrap; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 280px), 1fr)); gap: 16px; }
figure { margin: 0; background: var(--panel); border: 1px solid var(--line); border-radius: 8px;
  padding: 12px 12px 6px; }
figure.wide { grid-column: 1 / -1; overflow-x: auto; }
figure.wide svg { min-width: 800px; }
figcaption { font-weight: 600; margin: 0 0 4px 4px; }
figcaption i { font-style: normal; font-weight: 400; color: var(--faint); margin-left: 14px; white-space: nowrap; }
figcaption i::before { content: ""; display: inline-block; width: 18px; height: 0; margin-right: 6px;
  vertical-align: middle; border-top: 2px solid var(--train); }
figcaption i.validation::before { border-top: 2px dashed var(--valid); }
figcaption i.resumed::before { border-top: 2px dotted var(--faint); }
svg { display: block; width: 100%; height: auto; }
svg text { fill: var(--faint); font-size: 11px; font-variant-numeric: tabular-nums; }
svg .grid { stroke: var(--line); stroke-width: 1; }
svg .mark { stroke: var(--faint); stroke-width: 1; stroke-dasharray: 2 3; }
svg path { fill: none; stroke-width: 1.8; stroke-linejoin: round; }
svg path.training { stroke: var(--train); }
svg path.validation { stroke: var(--valid); stroke-dasharray: 5 4; }
svg circle.training { fill: var(--train); }
svg circle.validation { fill: var(--valid); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: 6px 14px 6px 0; border-bottom: 1px solid var(--line); }
th { color: var(--faint); font-weight: 500; font-size: 13px; }
td, li { overflow-wrap: anywhere; }
td:not(:last-child):not(.value) { white-space: nowrap; }
td.from { color: var(--faint); }
code, pre, td.value { font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, "Liberation Mono", monospace;
  font-size: 13px; }
pre { background: var(--panel); border: 1px solid var(--line); border-radius: 8px; padding: 12px 14px; margin: 8px 0;
  overflow-x: auto; }
.said { background: var(--panel); border: 1px solid var(--line); border-radius: 8px; margin: 12px 0;
  padding: 12px 14px; }
.said .prompt { color: var(--faint); white-space: pre-wrap; overflow-wrap: anywhere; margin-bottom: 10px; }
.said .pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 300px), 1fr)); gap: 16px; }
.said .pair div { white-space: pre-wrap; overflow-wrap: anywhere; }
.said h3 { font-size: 13px; font-weight: 500; color: var(--faint); margin: 0 0 2px; }
details { margin-top: 10px; }
summary { cursor: pointer; color: var(--faint); }
footer { margin-top: 48px; color: var(--faint); font-size: 13px; }
@media print { body { font-size: 12px; } .said, figure, .tile { break-inside: avoid; } }
"""
