// A daemon's load as a path (pure).

/** Sort samples into `count` pieces of the time from `from` to `to`; null where nothing is known. */
export function buckets(samples, { from, to, count }) {
  const found = Array.from({ length: count }, () => null);
  for (const sample of samples) {
    const at = Date.parse(sample.at);
    if (!(at >= from && at <= to)) continue;
    const place = Math.min(count - 1, Math.floor(((at - from) / (to - from)) * count));
    const before = found[place];
    found[place] = {
      active: Math.max(before?.active ?? 0, sample.active),
      most: Math.max(before?.most ?? 0, sample.most),
    };
  }
  return found;
}

/** Give the areas of a stepped chart, as SVG paths; a gap where nothing is known for long. */
export function areas(pieces, { width, height, top, gap = 3 }) {
  const step = width / pieces.length;
  const y = (value) => round(height - (top ? Math.min(1, value / top) : 0) * height);
  const paths = [];
  let path = "";
  let missing = 0;
  let last = null;
  const close = (x) => {
    if (path) paths.push(`${path}H${round(x)}V${height}Z`);
    path = "";
    last = null;
  };
  pieces.forEach((piece, at) => {
    const x = at * step;
    if (!piece) {
      missing += 1;
      if (missing === gap) close((at - gap + 1) * step);
      return;
    }
    missing = 0;
    if (path === "") path = `M${round(x)} ${height}V${y(piece.active)}`;
    else if (piece.active !== last) path += `H${round(x)}V${y(piece.active)}`;
    last = piece.active;
  });
  close(width);
  return paths;
}

/** Say the chart in words. */
export function told(pieces) {
  const known = pieces.filter(Boolean);
  if (known.length === 0) return "no samples";
  const peak = Math.max(...known.map((each) => each.active));
  const mean = known.reduce((sum, each) => sum + each.active, 0) / known.length;
  return `peak ${peak}, mean ${mean.toFixed(1)}`;
}

const round = (value) => Math.round(value * 10) / 10;
