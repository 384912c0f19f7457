// Draws the charts of a report, sorts its tables, switches its theme. When all is drawn the root element's data-report
// says "ready" and the number of charts; any error makes it "failed" and why.
(function () {
  'use strict';
  const root = document.documentElement;
  const fail = (error) => { root.dataset.report = 'failed: ' + error; };
  window.addEventListener('error', (event) => fail(event.message));

  const data = JSON.parse(document.getElementById('report-data').textContent);
  const dark = window.matchMedia('(prefers-color-scheme: dark)');
  const color = (name) => getComputedStyle(root).getPropertyValue(name).trim();
  const number = (v) => (v === null || v === undefined ? '–' : v.toLocaleString('en', { maximumSignificantDigits: 4 }));
  // 1500 as 1.5k: axes have little room.
  const tick = (v) => {
    const size = Math.abs(v);
    if (size >= 1e9) return number(v / 1e9) + 'G';
    if (size >= 1e6) return number(v / 1e6) + 'M';
    if (size >= 1e4) return number(v / 1e3) + 'k';
    return number(v);
  };
  const element = (name, text) => {
    const e = document.createElement(name);
    if (text !== undefined) e.textContent = text;
    return e;
  };

  // ---- charts

  function axis(spec, isValue, all) {
  const values = all.filter((v) => v > 0);
    const category = spec.categories.length > 0;
    const scale = {
      type: category ? 'category' : spec.log ? 'logarithmic' : 'linear',
      title: { display: true, text: spec.title, color: color('--soft') },
      grid: { color: color('--line'), drawBorder: false, display: !category },
      ticks: { color: color('--soft'), maxRotation: 0, autoSkipPadding: 12 },
    };
    if (category) { scale.labels = spec.categories; scale.ticks.autoSkip = false; }
    if (spec.least !== null) scale.min = spec.least;
    if (spec.most !== null) scale.max = spec.most;
    if (!category) {
      // Powers of ten, and what is between them only where few of them are.
      scale.ticks.callback = (v, index, all) => {
        if (!spec.log) return tick(v);
        const lead = v / Math.pow(10, Math.floor(Math.log10(v) + 1e-9));
        const shown = all.length < 25 ? [1, 2, 5] : [1];
        return shown.some((n) => Math.abs(lead - n) < 1e-6) ? tick(v) : '';
      };
    }
    if (spec.log && values.length > 0) scale.min = values.reduce((a, b) => Math.min(a, b));
    if (isValue && !category && spec.least === null && !spec.log) scale.grace = '3%';
    return scale;
  }

  function dataset(chart, s) {
    const paint = data.palette[s.color];
    const common = { label: s.name, borderColor: paint, backgroundColor: paint };
    if (chart.kind === 'bars') {
      const values = s.y.map((v, i) => (s.base.length > 0 ? [s.base[i], v] : v));
      return { ...common, data: values, borderWidth: 0, minBarLength: 1, maxBarThickness: 26 };
    }
    const points = s.x.map((x, i) => ({ x: chart.x.log && !(x > 0) ? null : x, y: chart.y.log && !(s.y[i] > 0) ? null : s.y[i] }));
    if (chart.kind === 'points') {
      return { ...common, data: points, pointRadius: 4, pointHoverRadius: 6, showLine: s.dashed || chart.joined, borderDash: s.dashed ? [5, 4] : [], borderWidth: 1.5,
        // Colours that come around a second time are hollow.
        pointBackgroundColor: chart.series.indexOf(s) < data.palette.length ? paint : color('--card') };
    }
    return { ...common, data: points, borderWidth: 2, pointStyle: 'line', pointRadius: 0, pointHitRadius: 4, pointHoverRadius: 4, borderDash: s.dashed ? [6, 4] : [], tension: 0 };
  }

  function label(chart, item) {
    const s = chart.series[item.datasetIndex];
    const i = item.dataIndex;
    if (chart.kind === 'bars') return ' ' + s.name + ': ' + number(s.base.length > 0 ? s.y[i] - s.base[i] : s.y[i]);
    const at = chart.byIndex || chart.kind === 'points' ? number(s.x[i]) + ', ' : '';
    return ' ' + (s.labels[i] || s.name) + ': ' + at + number(s.y[i]);
  }

  function heading(chart, items) {
    if (items.length === 0 || chart.kind === 'points') return '';
    const s = chart.series[items[0].datasetIndex];
    const i = items[0].dataIndex;
    if (chart.kind === 'bars') return chart.y.categories[i];
    return chart.byIndex ? chart.y.title + ': ' + number(s.y[i]) : chart.x.title + ': ' + number(s.x[i]);
  }

  function interaction(chart) {
    if (chart.kind === 'bars') return { mode: 'index', axis: 'y', intersect: false };
    if (chart.kind === 'points') return { mode: 'nearest', intersect: true };
    return chart.byIndex ? { mode: 'index', intersect: false, axis: 'y' } : { mode: 'nearest', intersect: false, axis: 'x' };
  }

  // The library's legend with the dashes of the lines.
  function legend(chart) {
    const all = Chart.defaults.plugins.legend.labels.generateLabels(chart);
    all.forEach((item) => { item.lineDash = chart.data.datasets[item.datasetIndex].borderDash || []; });
    return all;
  }

  function settings(chart) {
    const bars = chart.kind === 'bars';
    const x = axis(chart.x, bars, chart.series.flatMap((s) => s.x));
    if (chart.kind === 'lines') x.bounds = 'data';
    const y = axis(chart.y, !bars, chart.series.flatMap((s) => s.y));
    if (chart.stacked) { x.stacked = true; y.stacked = true; }
    return {
      type: bars ? 'bar' : chart.kind === 'points' ? 'scatter' : 'line',
      data: { labels: bars ? chart.y.categories : undefined, datasets: chart.series.map((s) => dataset(chart, s)) },
      options: {
        animation: false, responsive: true, maintainAspectRatio: false, indexAxis: bars ? 'y' : 'x',
        interaction: interaction(chart), scales: { x, y },
        plugins: {
          legend: {
            display: chart.series.length > 1, position: 'bottom',
            labels: { generateLabels: legend, color: color('--ink'), boxWidth: 12, boxHeight: 8, usePointStyle: chart.kind !== 'bars', pointStyleWidth: chart.kind === 'lines' ? 30 : 10 },
          },
          tooltip: { callbacks: { title: (items) => heading(chart, items), label: (item) => label(chart, item) } },
        },
      },
    };
  }

  let drawn = [];
  function draw() {
    drawn.forEach((c) => c.destroy());
    drawn = data.charts.map((chart) => new Chart(document.querySelector('#' + chart.id + ' canvas'), settings(chart)));
    root.dataset.report = 'ready ' + drawn.length;
  }

  // ---- the numbers behind a chart, made when somebody asks

  function numbersOf(chart) {
    const table = element('table');
    const bars = chart.kind === 'bars';
    const head = table.createTHead().insertRow();
    [bars ? chart.y.title : 'series', bars ? 'series' : chart.x.title, bars ? chart.x.title : chart.y.title].forEach((t) => head.append(element('th', t)));
    const body = table.createTBody();
    chart.series.forEach((s) => s.y.forEach((y, i) => {
      const row = body.insertRow();
      row.append(element('td', bars ? chart.y.categories[i] : s.labels[i] || s.name), element('td', bars ? s.name : number(s.x[i])), element('td', number(bars && s.base.length > 0 ? y - s.base[i] : y)));
    }));
    const scroll = element('div');
    scroll.className = 'scroll';
    scroll.append(table);
    return scroll;
  }
  data.charts.forEach((chart) => {
    const details = document.querySelector('#' + chart.id + ' details');
    details.addEventListener('toggle', () => {
      if (details.open && details.childElementCount === 1) { details.append(numbersOf(chart)); makeSortable(details.querySelector('table')); }
    });
  });

  // ---- tables

  const value = (cell) => (cell === undefined ? '' : cell.dataset.n !== undefined ? Number(cell.dataset.n) : cell.textContent);
  function compare(a, b) {
    if (typeof a === 'number' && typeof b === 'number') return a - b;
    if (typeof a === 'number' || typeof b === 'number') return typeof a === 'number' ? -1 : 1;
    return a.localeCompare(b, 'en', { numeric: true });
  }
  function sortBy(table, column) {
    const head = table.tHead.rows[0].cells;
    const down = head[column].getAttribute('aria-sort') === 'ascending';
    Array.from(head).forEach((h) => h.removeAttribute('aria-sort'));
    head[column].setAttribute('aria-sort', down ? 'descending' : 'ascending');
    const rows = Array.from(table.tBodies[0].rows);
    rows.sort((a, b) => (down ? -1 : 1) * compare(value(a.cells[column]), value(b.cells[column])));
    table.tBodies[0].append(...rows);
  }
  function makeSortable(table) {
    Array.from(table.tHead.rows[0].cells).forEach((h, i) => {
      h.tabIndex = 0;
      if (Array.from(table.tBodies[0].rows).some((r) => r.cells[i] !== undefined && r.cells[i].className === 'n')) h.className = 'n';
      h.addEventListener('click', () => sortBy(table, i));
      h.addEventListener('keydown', (event) => { if (event.key === 'Enter') sortBy(table, i); });
    });
  }
  document.querySelectorAll('.table table').forEach(makeSortable);

  // ---- theme: what the system prefers until somebody chooses

  document.getElementById('theme').addEventListener('click', () => {
    const now = root.dataset.theme || (dark.matches ? 'dark' : 'light');
    root.dataset.theme = now === 'dark' ? 'light' : 'dark';
    draw();
  });
  dark.addEventListener('change', draw);
  draw();
})();
