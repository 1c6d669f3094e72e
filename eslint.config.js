import js from '@eslint/js';
import hooks from 'eslint-plugin-react-hooks';
import ts from 'typescript-eslint';

export default ts.config(
  { ignores: ['**/dist/', 'target/', 'control-api/', 'gateway-user/', 'gateway-ebpf/', 'crates/', 'tests/'] },
  js.configs.recommended,
  ...ts.configs.strict,
  hooks.configs.flat.recommended,
  {
    rules: {
      // The pages run under a CSP without 'unsafe-inline'; markup comes from React alone.
      'no-restricted-syntax': [
        'error',
        {
          selector: "JSXAttribute[name.name='dangerouslySetInnerHTML']",
          message: 'Render text; names of devices and users are chosen by strangers.',
        },
        {
          selector: "JSXAttribute[name.name='style']",
          message:
            'Put it in a stylesheet with a token; inline styles are refused by the page’s CSP in static markup.',
        },
      ],
    },
  },
);
